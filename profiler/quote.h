/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: texts of the program's in ours: quoted as Go's %q does, whatever bytes they have.
 */
#ifndef COPPER_QUOTE_H
#define COPPER_QUOTE_H

#include <stddef.h>

/* Bytes of the UTF-8 sequence at s, of which there are `left`. 0: it is none. */
size_t cu__utf8_sequence(const unsigned char *s, size_t left);

/* Appends value with Go's quoting, as far as there is room. Always leaves out terminated. */
void cu__append_quoted(char *out, size_t cap, const char *value);

#endif
