// SPDX-License-Identifier: Apache-2.0
//
// Removes macros of other programs until pop_macros-inl.hpp restores them. Headers of systems and libraries define macros that are
// named like ordinary words: <windows.h> has min and max, X11 has Status and Success, Arduino's core has abs, round, bit and
// radians, Qt has emit, and many programs have macros of a single letter. Between this file and pop_macros-inl.hpp these macros do
// not exist; after the latter they are again what the application made them. Every header of the library includes both files, this
// one after its other includes, as libc++ does with its own pair. This file is included many times, so it has no #pragma once.
#pragma push_macro("abs")
#undef abs
#pragma push_macro("B0")
#undef B0
#pragma push_macro("bit")
#undef bit
#pragma push_macro("Bool")
#undef Bool
#pragma push_macro("check")
#undef check
#pragma push_macro("D")
#undef D
#pragma push_macro("E")
#undef E
#pragma push_macro("emit")
#undef emit
#pragma push_macro("F")
#undef F
#pragma push_macro("far")
#undef far
#pragma push_macro("I")
#undef I
#pragma push_macro("interface")
#undef interface
#pragma push_macro("K")
#undef K
#pragma push_macro("M")
#undef M
#pragma push_macro("major")
#undef major
#pragma push_macro("max")
#undef max
#pragma push_macro("min")
#undef min
#pragma push_macro("minor")
#undef minor
#pragma push_macro("N")
#undef N
#pragma push_macro("near")
#undef near
#pragma push_macro("None")
#undef None
#pragma push_macro("radians")
#undef radians
#pragma push_macro("round")
#undef round
#pragma push_macro("S")
#undef S
#pragma push_macro("signals")
#undef signals
#pragma push_macro("slots")
#undef slots
#pragma push_macro("small")
#undef small
#pragma push_macro("Status")
#undef Status
#pragma push_macro("Success")
#undef Success
#pragma push_macro("T")
#undef T
