/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: strings that every consumer accepts. Some reject a whole profile for one byte that is
 * not UTF-8, and file names and mangled names may hold any byte.
 */
#ifndef COPPER_PROTO_UTF8_H
#define COPPER_PROTO_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Is every byte part of well-formed UTF-8, and none of them zero? */
bool cu__utf8_is_clean(const char *bytes, size_t n);

/* Copies, with each offending byte (and each zero byte) replaced by U+FFFD. `out` has room for
 * 3 * n bytes. Returns the bytes written; no zero is added. */
size_t cu__utf8_clean(char *out, const char *bytes, size_t n);

#endif
