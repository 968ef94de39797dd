# SPDX-License-Identifier: Apache-2.0
#
# cmake -D INPUT=FILE -D OUTPUT=FILE.cpp -P EmbedFile.cmake: writes the file's bytes as a constant of the program, for
# examples/stilla/embedded_model.hpp. They are written as numbers of 64 bits: 1.7 MB compile in half a second on every compiler,
# and the bytes are aligned. Single bytes take ten times as long, and assembler's .incbin does not work with MSVC.
file(SIZE "${INPUT}" bytes)
file(READ "${INPUT}" hex HEX)
math(EXPR padding "(8 - ${bytes} % 8) % 8")
string(REPEAT "00" ${padding} zeros)
string(REGEX REPLACE "(..)(..)(..)(..)(..)(..)(..)(..)" "0x\\8\\7\\6\\5\\4\\3\\2\\1,\n" words "${hex}${zeros}")
file(WRITE "${OUTPUT}" "#include \"embedded_model.hpp\"
namespace program {
const std::size_t embedded_bytes = ${bytes};
alignas(64) const std::uint64_t embedded_words[] = {
${words}};
}  // namespace program
")
