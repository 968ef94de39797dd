# SPDX-License-Identifier: Apache-2.0
#
# cmake -D INPUT=FILE -D OUTPUT=FILE.cpp -P EmbedFile.cmake: the file's bytes as a constant of the program, for
# examples/stilla/embedded_model.hpp. Numbers of 64 bits compile 1.7 MB in half a second on every compiler, and are aligned;
# single bytes take ten times as long, and assembler's .incbin is not for MSVC.
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
