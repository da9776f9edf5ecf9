#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The pages of docs/api are what generate.py makes of the headers.
exec python3 "$COPPER_SOURCE/docs/api/generate.py" --check
