#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes include/stilla/format/iq_grids.hpp: the grids of the IQ2 and IQ3 formats, as gguf-py has them.

    pip install gguf==0.19.0 numpy==2.4.6
    python tests/make_iq_grids.py            # writes the header
    python tests/make_iq_grids.py --check    # exit status 1 if the committed header differs
"""

import argparse
import pathlib

import numpy as np
from gguf import quants

HEADER = pathlib.Path(__file__).resolve().parent.parent / "include/stilla/format/iq_grids.hpp"
FORMATS = [quants.IQ2_XXS, quants.IQ2_XS, quants.IQ2_S, quants.IQ3_XXS, quants.IQ3_S]


def grid(quant):
    """Packs the magnitudes of each entry as numbers of a few bits: 2 bits for each of IQ2's eight, 3 for each of IQ3's four."""
    quant.init_grid()
    levels = np.array(quant.grid_map)
    values = np.asarray(quant.grid).reshape(-1, quant.grid_shape[1])
    numbers = np.searchsorted(levels, values)
    assert (levels[numbers] == values).all()
    bits = {8: 2, 4: 3}[quant.grid_shape[1]]
    return (numbers << bits * np.arange(quant.grid_shape[1])).sum(axis=1)


def make():
    tables = []
    for quant in FORMATS:
        entries = [f"0x{entry:04x}," for entry in grid(quant)]
        name = quant.__name__.lower()
        rows = "\n".join("    " + " ".join(entries[i:i + 16]) for i in range(0, len(entries), 16))
        tables.append(f"inline constexpr std::uint16_t {name}_grid[{len(entries)}] = {{\n{rows}\n}};\n")
    body = "\n".join(tables)
    return f"""// SPDX-License-Identifier: Apache-2.0
//
// The grids of the IQ2 and IQ3 formats: the combinations of magnitudes that a few neighbouring weights may have. They are the
// grids of ggml's formats of these names. tests/make_iq_grids.py generates this file from gguf-py; it is not edited by hand.
//
//     IQ2   magnitude i = 0 .. 7 of an entry: bits 2i, 2i + 1 are its number in (8, 25, 43)
//     IQ3   magnitude i = 0 .. 3 of an entry: bits 3i .. 3i + 2 are its number in the format's eight (iq3.hpp)
#pragma once

#include <cstdint>

#include <stilla/base/config.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla {{ inline namespace STILLA_ABI {{ namespace detail {{

{body}
}}}}}}  // namespace stilla::detail

#include <stilla/base/pop_macros-inl.hpp>
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the committed header instead of writing it")
    text = make()
    if parser.parse_args().check:
        raise SystemExit(0 if HEADER.read_text(encoding="utf-8") == text else f"{HEADER} differs from what this script writes")
    HEADER.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
