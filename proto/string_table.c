/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: intern texts; see string_table.h.
 */
#include "string_table.h"

#include "hash.h"
#include "utf8.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COPPER_STRING_CHUNK                                                                        \
    ((size_t)32 << 10) /* bytes of text in one allocation, or one long text */

struct cu__string_chunk {
    struct cu__string_chunk *next;
    size_t used, size;
    char bytes[];
};

static bool is_equal(const void *ctx, uint32_t id, const void *key)
{
    const struct cu__strings *s = ctx;
    const struct cu__string *want = key, *have = &s->items[id - 1];
    return have->length == want->length && memcmp(have->text, want->text, want->length) == 0;
}

/* Copies the text with a zero behind it; NULL when memory is out. */
static const char *store(struct cu__strings *s, const char *text, size_t length)
{
    struct cu__string_chunk *chunk = s->chunk;
    if (!chunk || chunk->size - chunk->used <= length) {
        size_t size = length < COPPER_STRING_CHUNK ? COPPER_STRING_CHUNK : length + 1;
        chunk = malloc(sizeof *chunk + size);
        if (!chunk)
            return NULL;
        chunk->used = 0;
        chunk->size = size;
        chunk->next = s->chunk;
        s->chunk = chunk;
    }
    char *copy = chunk->bytes + chunk->used;
    if (length)
        memcpy(copy, text, length);
    copy[length] = '\0';
    chunk->used += length + 1;
    return copy;
}

static int intern_clean(struct cu__strings *s, const char *text, size_t length, uint32_t *out)
{
    struct cu__string item = {text, length};
    uint32_t hash = cu__hash_end(cu__hash_bytes(text, length));
    uint32_t id = cu__index_find(&s->index, hash, is_equal, s, &item);
    int err;
    if (id) {
        *out = id - 1;
        return 0;
    }
    if (s->n >= COPPER_PPROF_IDS_MAX)
        return -EOVERFLOW;
    if ((err = cu__reserve(&s->items, &s->cap, s->n + 1, sizeof *s->items)) ||
        (err = cu__index_reserve(&s->index)))
        return err;
    item.text = store(s, text, length);
    if (!item.text)
        return -ENOMEM;
    *out = (uint32_t)s->n;
    s->items[s->n++] = item;
    cu__index_add(&s->index, hash, (uint32_t)s->n);
    return 0;
}

int cu__strings_intern(struct cu__strings *s, const char *text, size_t length, uint32_t *out)
{
    if (cu__utf8_is_clean(text, length))
        return intern_clean(s, text, length, out);
    char *clean = malloc(3 * length);
    if (!clean)
        return -ENOMEM;
    int err = intern_clean(s, clean, cu__utf8_clean(clean, text, length), out);
    free(clean);
    return err;
}

int cu__strings_init(struct cu__strings *s)
{
    uint32_t empty;
    *s = (struct cu__strings){0};
    int err = cu__strings_intern(s, "", 0, &empty);
    if (err)
        cu__strings_free(s);
    return err;
}

void cu__strings_free(struct cu__strings *s)
{
    for (struct cu__string_chunk *chunk = s->chunk, *next; chunk; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    free(s->items);
    cu__index_free(&s->index);
    *s = (struct cu__strings){0};
}
