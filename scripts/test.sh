#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Installs what is missing, builds the tests and runs them. If STILLA_MODELS names the folder that scripts/fetch_models.sh filled,
# the tests on real models run too.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/bootstrap.sh
# shellcheck source=scripts/environment.sh
. scripts/environment.sh
cmake --workflow --preset test
