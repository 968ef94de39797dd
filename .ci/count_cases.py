#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints how many GoogleTest cases passed, failed and were skipped, from the XML files of a folder (none: 0 0 0)."""

import pathlib
import sys
import xml.etree.ElementTree

passed = failed = skipped = 0
for path in pathlib.Path(sys.argv[1]).glob("*.xml"):
    for case in xml.etree.ElementTree.parse(path).iter("testcase"):
        if case.find("failure") is not None:
            failed += 1
        elif case.get("status") == "notrun":
            continue  # disabled
        elif case.get("result") == "skipped":
            skipped += 1
        else:
            passed += 1
print(passed, failed, skipped)
