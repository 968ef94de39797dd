# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# The other scripts source this file. It chooses Ninja where that is installed, and all cores for building and testing. Variables
# that are already set keep their values.
if [ -z "${CMAKE_GENERATOR:-}" ] && command -v ninja > /dev/null; then export CMAKE_GENERATOR=Ninja; fi
export CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}
export CTEST_PARALLEL_LEVEL=${CTEST_PARALLEL_LEVEL:-$(nproc)}
