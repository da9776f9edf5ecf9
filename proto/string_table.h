/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the string table of a profile: each text once, as clean UTF-8.
 *
 * Design: texts live in chunks that never move, so a pointer to one is valid as long as its
 * profile. Index 0 is always "".
 */
#ifndef COPPER_PROTO_STRING_TABLE_H
#define COPPER_PROTO_STRING_TABLE_H

#include "table.h"

#include <stddef.h>
#include <stdint.h>

struct cu__string {
    const char *text; /* zero-terminated */
    size_t length;
};

struct cu__string_chunk;

struct cu__strings {
    struct cu__string *items; /* items[0] is "" */
    size_t n, cap;
    struct cu__index index;         /* of ids from 1: item + 1 */
    struct cu__string_chunk *chunk; /* the newest, others behind it */
};

int cu__strings_init(struct cu__strings *s); /* 0 or -ENOMEM */
void cu__strings_free(struct cu__strings *s);
/* *out: the index of the text. 0, -ENOMEM or -EOVERFLOW. */
int cu__strings_intern(struct cu__strings *s, const char *text, size_t length, uint32_t *out);

#endif
