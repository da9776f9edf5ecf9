/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: intern sequences of ids; see sequences.h.
 */
#include "sequences.h"

#include "hash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct key {
    const uint32_t *words;
    size_t n;
};

static bool is_equal(const void *ctx, uint32_t id, const void *key)
{
    const struct cu__sequences *s = ctx;
    const struct key *want = key;
    size_t n;
    const uint32_t *words = cu__sequence_words(s, id, &n);
    return n == want->n && (n == 0 || memcmp(words, want->words, n * sizeof *words) == 0);
}

int cu__sequences_intern(struct cu__sequences *s, const uint32_t *words, size_t n, uint32_t *out)
{
    struct key key = {words, n};
    uint32_t hash = cu__hash_end(cu__hash_bytes(words, n * sizeof *words));
    int err;
    *out = cu__index_find(&s->index, hash, is_equal, s, &key);
    if (*out)
        return 0;
    if (s->n >= COPPER_PPROF_IDS_MAX || n > SIZE_MAX / 2 - s->nwords)
        return -EOVERFLOW;
    if ((err = cu__reserve(&s->words, &s->words_cap, s->nwords + n, sizeof *s->words)) ||
        (err = cu__reserve(&s->items, &s->cap, s->n + 1, sizeof *s->items)) ||
        (err = cu__index_reserve(&s->index)))
        return err;
    if (n)
        memcpy(s->words + s->nwords, words, n * sizeof *words);
    s->items[s->n++] = (struct cu__sequence){s->nwords, n};
    s->nwords += n;
    *out = (uint32_t)s->n;
    cu__index_add(&s->index, hash, *out);
    return 0;
}

const uint32_t *cu__sequence_words(const struct cu__sequences *s, uint32_t id, size_t *n)
{
    const struct cu__sequence *item = &s->items[id - 1];
    *n = item->n;
    return item->n ? s->words + item->first : NULL;
}

void cu__sequences_free(struct cu__sequences *s)
{
    free(s->words);
    free(s->items);
    cu__index_free(&s->index);
    *s = (struct cu__sequences){0};
}
