#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Compares stilla.exe under wine with the program of this machine. Both must write the same greedy text. The tests also use files
# in a folder whose name has spaces and letters of several alphabets, run the program alone in this folder, and do not read the
# output to its end.
#
#   tests/wine_program.sh NATIVE STILLA.EXE [MODEL.gguf]...        WINEPREFIX as for wine
#
# Both programs write 16 tokens with every MODEL, so both must be compiled with the formats of all these models.
set -uo pipefail
[ $# -ge 2 ] || { echo "wine_program.sh NATIVE STILLA.EXE [MODEL.gguf]..." >&2; exit 2; }
native=$(realpath "$1") exe=$(realpath "$2")
shift 2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
folder="$scratch/Größe und 模型 (1)"
mkdir "$folder"
cp "$exe" "$folder/stilla größer.exe"
cp "$(dirname "$0")/../examples/models/stilla-drop-q4_0.gguf" "$folder/Модель é.gguf"
printf 'What is 347 + 589?' > "$folder/вопрос 1.txt"
export WINEDEBUG=-all LC_ALL=C.UTF-8
failed=0

on_wine() { /usr/lib/wine/wine64 "$exe" "$@"; }
claim() {  # TEXT COMMAND...: holds where the command succeeds
  local text=$1
  shift
  if "$@"; then echo "holds   $text"; else echo "FAILS   $text" && failed=1; fi
}
# same TEXT ARGUMENT...: requires that both programs write the same bytes and end with the same status. Under wine, / is drive Z.
same() {
  local text=$1 here there
  shift
  "$native" "$@" > "$scratch/here" 2> "$scratch/here.err"
  here=$?
  on_wine "${@/#\//Z:/}" > "$scratch/there" 2> "$scratch/there.err"
  there=$?
  if [ $here -ne $there ] || ! cmp -s "$scratch/here" "$scratch/there" || [ ! -s "$scratch/here" ]; then
    echo "FAILS   $text: status $there, not $here"
    head -c 600 "$scratch/there" "$scratch/there.err" "$scratch/here"
    failed=1
  else
    echo "holds   $text: the same $(stat -c %s "$scratch/here") bytes"
  fi
}

same "the model inside, greedy" run -p "What is 347 + 589?" --temp 0
same "a model in such a folder" run -m "$folder/Модель é.gguf" -p "What is 62 - 17?" --temp 0
same "a prompt in such a file" run -m "$folder/Модель é.gguf" -f "$folder/вопрос 1.txt" --temp 0
same "a prompt of several alphabets" tokenize "größer? 模型 и é 🙂"
on_wine pack -m "Z:$folder/Модель é.gguf" -o "Z:$folder/wine é.stilla" > /dev/null 2>&1
"$native" pack -m "$folder/Модель é.gguf" -o "$folder/here é.stilla" > /dev/null 2>&1
claim "both pack the same bytes there" cmp -s "$folder/here é.stilla" "$folder/wine é.stilla"
same "a packed file there" run -m "$folder/wine é.stilla" -p "What is 62 - 17?" --temp 0

text=$(cd / && /usr/lib/wine/wine64 "$folder/stilla größer.exe" run -p "What is 347 + 589?" --temp 0 2> /dev/null)
claim "the program alone in such a folder" grep -q 'boxed{936}' <<< "$text"

first=$(on_wine run -p "What is 347 + 589?" --temp 0 2> "$scratch/pipe" | head -n 1)
claim "| head: the first line, and no complaint" test "$first" = "$("$native" run -p "What is 347 + 589?" --temp 0 2> /dev/null | head -n 1)"
claim "| head: nothing is said of the pipe" test -z "$(grep -i 'pipe\|error\|write' "$scratch/pipe")"

for model in "$@"; do
  same "$(basename "$model"), greedy" run -m "$model" --raw -p "def fibonacci(n):" --temp 0 -n 16
done
exit $failed
