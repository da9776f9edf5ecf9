/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: sequences of ids, each stored once: stacks (of location ids) and label sets (of label
 * ids). A million samples of a thousand stacks hold a thousand stacks.
 */
#ifndef COPPER_PROTO_SEQUENCES_H
#define COPPER_PROTO_SEQUENCES_H

#include "table.h"

#include <stddef.h>
#include <stdint.h>

struct cu__sequence {
    size_t first; /* in words */
    size_t n;
};

struct cu__sequences {
    uint32_t *words;
    size_t nwords, words_cap;
    struct cu__sequence *items;
    size_t n, cap;
    struct cu__index index;
};

/* *out: the id, from 1, also of the empty sequence. 0, -ENOMEM or -EOVERFLOW. */
int cu__sequences_intern(struct cu__sequences *s, const uint32_t *words, size_t n, uint32_t *out);
/* Valid until the next intern. */
const uint32_t *cu__sequence_words(const struct cu__sequences *s, uint32_t id, size_t *n);
void cu__sequences_free(struct cu__sequences *s);

#endif
