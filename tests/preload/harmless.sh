#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What is known to break profilers, in loops, under the highest rate, with profiles fetched back to
# back: dlopen and dlclose, malloc and free, C++ exceptions, fork, exec, threads, blocking calls beside
# busy threads, and all of it at once. Nothing may crash, hang, lose a child or be interrupted, and at
# least 90 % of the CPU time must be in the samples.
#
#   tests/preload/harmless.sh [SECONDS [LOOP...]]     SECONDS for each loop (default 60)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
: "${COPPER_BUILD:=$(cd "$here/../.." && pwd)/build/release}"
export COPPER_BUILD
exec python3 "$here/harmless.py" "$@"
