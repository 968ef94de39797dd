// SPDX-License-Identifier: Apache-2.0
//
// Includes one header for each entry of a list macro. So a list of targets or formats stands in one place, with a line for each
// entry, and is not repeated as a list of #include lines. Whoever includes this file must define before:
//
//   STILLA_EACH_LIST(entry)    the list: entry(name, ...) entry(name, ...) ..., at most 32 of them
//   STILLA_EACH_HEADER(name)   the header of an entry, in angle brackets; a header that does not exist is skipped
//
// This file undefines both macros at its end. It has no include guard, because it is included once for each list and each kind of
// header. Each such inclusion is called a pass. A pass cannot begin inside another pass. So if a header of a pass includes a header
// that begins another pass, include the latter before the first pass begins.
#ifdef STILLA_EACH_IS_RUNNING
#error "A header of a pass of <stilla/base/include_each-inl.hpp> begins another pass: include that one's header before the first."
#endif
#define STILLA_EACH_IS_RUNNING

#define STILLA_EACH_COUNT_(...) +1
#define STILLA_EACH_NAME_(name, ...) name,
#define STILLA_EACH_AT_(n) STILLA_EXPAND_(STILLA_EACH_PICK_##n STILLA_EACH_NAMES_)
#define STILLA_EACH_NAMES_ (STILLA_EACH_LIST(STILLA_EACH_NAME_) , , , , , , , , )

// STILLA_EACH_PICK_n(...) expands to the entry at place n of its arguments, counted from 0.
#define STILLA_EACH_PICK_0(it, ...) it
#define STILLA_EACH_PICK_1(a0, it, ...) it
#define STILLA_EACH_PICK_2(a0, a1, it, ...) it
#define STILLA_EACH_PICK_3(a0, a1, a2, it, ...) it
#define STILLA_EACH_PICK_4(a0, a1, a2, a3, it, ...) it
#define STILLA_EACH_PICK_5(a0, a1, a2, a3, a4, it, ...) it
#define STILLA_EACH_PICK_6(a0, a1, a2, a3, a4, a5, it, ...) it
#define STILLA_EACH_PICK_7(a0, a1, a2, a3, a4, a5, a6, it, ...) it
#define STILLA_EACH_PICK_8(a0, a1, a2, a3, a4, a5, a6, a7, it, ...) it
#define STILLA_EACH_PICK_9(a0, a1, a2, a3, a4, a5, a6, a7, a8, it, ...) it
#define STILLA_EACH_PICK_10(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, it, ...) it
#define STILLA_EACH_PICK_11(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, it, ...) it
#define STILLA_EACH_PICK_12(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, it, ...) it
#define STILLA_EACH_PICK_13(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, it, ...) it
#define STILLA_EACH_PICK_14(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, it, ...) it
#define STILLA_EACH_PICK_15(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, it, ...) it
#define STILLA_EACH_PICK_16(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, it, ...) it
#define STILLA_EACH_PICK_17(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, it, ...) it
#define STILLA_EACH_PICK_18(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, it, ...) it
#define STILLA_EACH_PICK_19(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, it, ...) it
#define STILLA_EACH_PICK_20(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19, it, ...) it
#define STILLA_EACH_PICK_21(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19, a20, it, ...) it
#define STILLA_EACH_PICK_22(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19, a20, a21, it, ...) it
#define STILLA_EACH_PICK_23(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19, a20, a21, a22, it, ...) it
#define STILLA_EACH_PICK_24(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19, a20, a21, a22, a23, it, ...) it
#define STILLA_EACH_PICK_25(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19, a20, a21, a22, a23, a24, it, ...) it
#define STILLA_EACH_PICK_26(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19, a20, a21, a22, a23, a24, a25, it, ...) it
#define STILLA_EACH_PICK_27(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19, a20, a21, a22, a23, a24, a25, a26, it, ...) it
#define STILLA_EACH_PICK_28(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19, a20, a21, a22, a23, a24, a25, a26, a27, it, ...) it
#define STILLA_EACH_PICK_29(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19, a20, a21, a22, a23, a24, a25, a26, a27, a28, it, ...) it
#define STILLA_EACH_PICK_30(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19, a20, a21, a22, a23, a24, a25, a26, a27, a28, a29, it, ...) it
#define STILLA_EACH_PICK_31(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19, a20, a21, a22, a23, a24, a25, a26, a27, a28, a29, a30, it, ...) it

#if 0 STILLA_EACH_LIST(STILLA_EACH_COUNT_) > 0
#if __has_include(STILLA_EACH_HEADER(STILLA_EACH_AT_(0)))
#include STILLA_EACH_HEADER(STILLA_EACH_AT_(0))
#endif
#endif
#if 0 STILLA_EACH_LIST(STILLA_EACH_COUNT_) > 1
#if __has_include(STILLA_EACH_HEADER(STILLA_EACH_AT_(1)))
#include STILLA_EACH_HEADER(STILLA_EACH_AT_(1))
#endif
#endif
#if 0 STILLA_EACH_LIST(STILLA_EACH_COUNT_) > 2
#if __has_include(STILLA_EACH_HEADER(STILLA_EACH_AT_(2)))
#include STILLA_EACH_HEADER(STILLA_EACH_AT_(2))
#endif
#endif
#if 0 STILLA_EACH_LIST(STILLA_EACH_COUNT_) > 3
#if __has_include(STILLA_EACH_HEADER(STILLA_EACH_AT_(3)))
#include STILLA_EACH_HEADER(STILLA_EACH_AT_(3))
#endif
#endif
#if 0 STILLA_EACH_LIST(STILLA_EACH_COUNT_) > 4
#if __has_include(STILLA_EACH_HEADER(STILLA_EACH_AT_(4)))
#include STILLA_EACH_HEADER(STILLA_EACH_AT_(4))
#endif
#endif
#if 0 STILLA_EACH_LIST(STILLA_EACH_COUNT_) > 5
#if __has_include(STILLA_EACH_HEADER(STILLA_EACH_AT_(5)))
#include STILLA_EACH_HEADER(STILLA_EACH_AT_(5))
#endif
#endif
#if 0 STILLA_EACH_LIST(STILLA_EACH_COUNT_) > 6
#if __has_include(STILLA_EACH_HEADER(STILLA_EACH_AT_(6)))
#include STILLA_EACH_HEADER(STILLA_EACH_AT_(6))
#endif
#endif
#if 0 STILLA_EACH_LIST(STILLA_EACH_COUNT_) > 7
#if __has_include(STILLA_EACH_HEADER(STILLA_EACH_AT_(7)))
#include STILLA_EACH_HEADER(STILLA_EACH_AT_(7))
#endif
#endif
#if 0 STILLA_EACH_LIST(STILLA_EACH_COUNT_) > 8
#if __has_include(STILLA_EACH_HEADER(STILLA_EACH_AT_(8)))
#include STILLA_EACH_HEADER(STILLA_EACH_AT_(8))
#endif
#endif
#if 0 STILLA_EACH_LIST(STILLA_EACH_COUNT_) > 9
#if __has_include(STILLA_EACH_HEADER(STILLA_EACH_AT_(9)))
#include STILLA_EACH_HEADER(STILLA_EACH_AT_(9))
#endif
#endif
#if 0 STILLA_EACH_LIST(STILLA_EACH_COUNT_) > 10
#if __has_include(STILLA_EACH_HEADER(STILLA_EACH_AT_(10)))
#include STILLA_EACH_HEADER(STILLA_EACH_AT_(10))
#endif
#endif
#if 0 STILLA_EACH_LIST(STILLA_EACH_COUNT_) > 11
#if __has_include(STILLA_EACH_HEADER(STILLA_EACH_AT_(11)))
#include STILLA_EACH_HEADER(STILLA_EACH_AT_(11))
#endif
#endif
#if 0 STILLA_EACH_LIST(STILLA_EACH_COUNT_) > 12
#if __has_include(STILLA_EACH_HEADER(STILLA_EACH_AT_(12)))
#include STILLA_EACH_HEADER(STILLA_EACH_AT_(12))
#endif
#endif
#if 0 STILLA_EACH_LIST(STILLA_EACH_COUNT_) > 13
#if __has_include(STILLA_EACH_HEADER(STILLA_EACH_AT_(13)))
#include STILLA_EACH_HEADER(STILLA_EACH_AT_(13))
#endif
#endif
#if 0 STILLA_EACH_LIST(STILLA_EACH_COUNT_) > 14
#if __has_include(STILLA_EACH_HEADER(STILLA_EACH_AT_(14)))
#include STILLA_EACH_HEADER(STILLA_EACH_AT_(14))
#endif
#endif
#if 0 STILLA_EACH_LIST(STILLA_EACH_COUNT_) > 15
#if __has_include(STILLA_EACH_HEADER(STILLA_EACH_AT_(15)))
#include STILLA_EACH_HEADER(STILLA_EACH_AT_(15))
#endif
#endif
#if 0 STILLA_EACH_LIST(STILLA_EACH_COUNT_) > 16
#if __has_include(STILLA_EACH_HEADER(STILLA_EACH_AT_(16)))
#include STILLA_EACH_HEADER(STILLA_EACH_AT_(16))
#endif
#endif
#if 0 STILLA_EACH_LIST(STILLA_EACH_COUNT_) > 17
#if __has_include(STILLA_EACH_HEADER(STILLA_EACH_AT_(17)))
#include STILLA_EACH_HEADER(STILLA_EACH_AT_(17))
#endif
#endif
#if 0 STILLA_EACH_LIST(STILLA_EACH_COUNT_) > 18
#if __has_include(STILLA_EACH_HEADER(STILLA_EACH_AT_(18)))
#include STILLA_EACH_HEADER(STILLA_EACH_AT_(18))
#endif
#endif
#if 0 STILLA_EACH_LIST(STILLA_EACH_COUNT_) > 19
#if __has_include(STILLA_EACH_HEADER(STILLA_EACH_AT_(19)))
#include STILLA_EACH_HEADER(STILLA_EACH_AT_(19))
#endif
#endif
#if 0 STILLA_EACH_LIST(STILLA_EACH_COUNT_) > 20
#if __has_include(STILLA_EACH_HEADER(STILLA_EACH_AT_(20)))
#include STILLA_EACH_HEADER(STILLA_EACH_AT_(20))
#endif
#endif
#if 0 STILLA_EACH_LIST(STILLA_EACH_COUNT_) > 21
#if __has_include(STILLA_EACH_HEADER(STILLA_EACH_AT_(21)))
#include STILLA_EACH_HEADER(STILLA_EACH_AT_(21))
#endif
#endif
#if 0 STILLA_EACH_LIST(STILLA_EACH_COUNT_) > 22
#if __has_include(STILLA_EACH_HEADER(STILLA_EACH_AT_(22)))
#include STILLA_EACH_HEADER(STILLA_EACH_AT_(22))
#endif
#endif
#if 0 STILLA_EACH_LIST(STILLA_EACH_COUNT_) > 23
#if __has_include(STILLA_EACH_HEADER(STILLA_EACH_AT_(23)))
#include STILLA_EACH_HEADER(STILLA_EACH_AT_(23))
#endif
#endif
#if 0 STILLA_EACH_LIST(STILLA_EACH_COUNT_) > 24
#if __has_include(STILLA_EACH_HEADER(STILLA_EACH_AT_(24)))
#include STILLA_EACH_HEADER(STILLA_EACH_AT_(24))
#endif
#endif
#if 0 STILLA_EACH_LIST(STILLA_EACH_COUNT_) > 25
#if __has_include(STILLA_EACH_HEADER(STILLA_EACH_AT_(25)))
#include STILLA_EACH_HEADER(STILLA_EACH_AT_(25))
#endif
#endif
#if 0 STILLA_EACH_LIST(STILLA_EACH_COUNT_) > 26
#if __has_include(STILLA_EACH_HEADER(STILLA_EACH_AT_(26)))
#include STILLA_EACH_HEADER(STILLA_EACH_AT_(26))
#endif
#endif
#if 0 STILLA_EACH_LIST(STILLA_EACH_COUNT_) > 27
#if __has_include(STILLA_EACH_HEADER(STILLA_EACH_AT_(27)))
#include STILLA_EACH_HEADER(STILLA_EACH_AT_(27))
#endif
#endif
#if 0 STILLA_EACH_LIST(STILLA_EACH_COUNT_) > 28
#if __has_include(STILLA_EACH_HEADER(STILLA_EACH_AT_(28)))
#include STILLA_EACH_HEADER(STILLA_EACH_AT_(28))
#endif
#endif
#if 0 STILLA_EACH_LIST(STILLA_EACH_COUNT_) > 29
#if __has_include(STILLA_EACH_HEADER(STILLA_EACH_AT_(29)))
#include STILLA_EACH_HEADER(STILLA_EACH_AT_(29))
#endif
#endif
#if 0 STILLA_EACH_LIST(STILLA_EACH_COUNT_) > 30
#if __has_include(STILLA_EACH_HEADER(STILLA_EACH_AT_(30)))
#include STILLA_EACH_HEADER(STILLA_EACH_AT_(30))
#endif
#endif
#if 0 STILLA_EACH_LIST(STILLA_EACH_COUNT_) > 31
#if __has_include(STILLA_EACH_HEADER(STILLA_EACH_AT_(31)))
#include STILLA_EACH_HEADER(STILLA_EACH_AT_(31))
#endif
#endif
#if 0 STILLA_EACH_LIST(STILLA_EACH_COUNT_) > 32
#error "This list has more than 32 entries: add places to <stilla/base/include_each-inl.hpp>."
#endif

#undef STILLA_EACH_PICK_0
#undef STILLA_EACH_PICK_1
#undef STILLA_EACH_PICK_2
#undef STILLA_EACH_PICK_3
#undef STILLA_EACH_PICK_4
#undef STILLA_EACH_PICK_5
#undef STILLA_EACH_PICK_6
#undef STILLA_EACH_PICK_7
#undef STILLA_EACH_PICK_8
#undef STILLA_EACH_PICK_9
#undef STILLA_EACH_PICK_10
#undef STILLA_EACH_PICK_11
#undef STILLA_EACH_PICK_12
#undef STILLA_EACH_PICK_13
#undef STILLA_EACH_PICK_14
#undef STILLA_EACH_PICK_15
#undef STILLA_EACH_PICK_16
#undef STILLA_EACH_PICK_17
#undef STILLA_EACH_PICK_18
#undef STILLA_EACH_PICK_19
#undef STILLA_EACH_PICK_20
#undef STILLA_EACH_PICK_21
#undef STILLA_EACH_PICK_22
#undef STILLA_EACH_PICK_23
#undef STILLA_EACH_PICK_24
#undef STILLA_EACH_PICK_25
#undef STILLA_EACH_PICK_26
#undef STILLA_EACH_PICK_27
#undef STILLA_EACH_PICK_28
#undef STILLA_EACH_PICK_29
#undef STILLA_EACH_PICK_30
#undef STILLA_EACH_PICK_31
#undef STILLA_EACH_NAMES_
#undef STILLA_EACH_AT_
#undef STILLA_EACH_NAME_
#undef STILLA_EACH_COUNT_
#undef STILLA_EACH_HEADER
#undef STILLA_EACH_LIST
#undef STILLA_EACH_IS_RUNNING
