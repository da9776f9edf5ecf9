/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: unpack gzip bytes in memory, up to a bound.
 */
#ifndef COPPER_PROTO_GUNZIP_H
#define COPPER_PROTO_GUNZIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool cu__is_gzip(const uint8_t *bytes, size_t n);

/* All members, as one stream, into *out (caller frees). 0, or a negative errno value (-EBADMSG,
 * -E2BIG over `max` bytes unpacked, -ENOMEM) with *wrong saying what is wrong. */
int cu__gunzip(const uint8_t *bytes, size_t n, size_t max, uint8_t **out, size_t *out_n,
               const char **wrong);

#endif
