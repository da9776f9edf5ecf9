/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: store byte strings once and number them; see interner.h.
 */
#include "interner.h"

#include <stdlib.h>
#include <string.h>

#define COPPER_INTERN_BLOCK  (64 * 1024)
#define COPPER_INTERN_TABLE0 1024 /* first table; a power of two */

struct intern_item {
    void *bytes;
    uint64_t hash;
    size_t n;
};

struct intern_block {
    struct intern_block *next;
    size_t used, size;
    char bytes[];
};

void cu__interner_clear(struct cu__interner *in)
{
    for (struct intern_block *b = in->blocks; b;) {
        struct intern_block *next = b->next;
        free(b);
        b = next;
    }
    free(in->items);
    free(in->table);
    *in = (struct cu__interner){0};
}

static uint64_t hash_bytes(const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    uint64_t h = 0x9e3779b97f4a7c15u ^ n;
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        h = (h ^ word) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
    }
    for (; n > 0; n--, p++) {
        h = (h ^ *p) * 0x100000001b3u;
    }
    return h ^ h >> 29;
}

static void *store(struct cu__interner *in, const void *bytes, size_t n)
{
    size_t room = (n + 7) & ~(size_t)7;
    struct intern_block *b = in->blocks;
    if (!b || b->size - b->used < room) {
        size_t size = room > COPPER_INTERN_BLOCK ? room : COPPER_INTERN_BLOCK;
        b = malloc(sizeof(*b) + size);
        if (!b) {
            return NULL;
        }
        b->next = in->blocks;
        b->used = 0;
        b->size = size;
        in->blocks = b;
    }
    void *at = b->bytes + b->used;
    memcpy(at, bytes, n);
    b->used += room;
    return at;
}

/* Room for one more item and a table at most half full. */
static bool grow(struct cu__interner *in)
{
    if (in->nitems == in->items_cap) {
        uint32_t cap = in->items_cap ? in->items_cap * 2 : COPPER_INTERN_TABLE0 / 2;
        struct intern_item *items = realloc(in->items, cap * sizeof(*items));
        if (!items) {
            return false;
        }
        in->items = items;
        in->items_cap = cap;
    }
    if (in->table && in->nitems * 2 <= in->mask) {
        return true;
    }
    uint32_t size = in->table ? (in->mask + 1) * 2 : COPPER_INTERN_TABLE0;
    uint32_t *table = calloc(size, sizeof(*table));
    if (!table) {
        return false;
    }
    for (uint32_t i = 0; i < in->nitems; i++) {
        uint32_t at = (uint32_t)in->items[i].hash & (size - 1);
        while (table[at]) {
            at = (at + 1) & (size - 1);
        }
        table[at] = i + 1;
    }
    free(in->table);
    in->table = table;
    in->mask = size - 1;
    return true;
}

static bool is_item(const struct intern_item *item, const void *bytes, size_t n)
{
    return item->n == n && memcmp(item->bytes, bytes, n) == 0;
}

uint32_t cu__intern(struct cu__interner *in, const void *bytes, size_t n)
{
    if (in->nitems > 0 && is_item(&in->items[in->last], bytes, n)) {
        return in->last;
    }
    if (in->is_failed || in->nitems >= UINT32_MAX / 4 || !grow(in)) {
        in->is_failed = true;
        return COPPER_INTERN_NONE;
    }
    uint64_t hash = hash_bytes(bytes, n);
    uint32_t at = (uint32_t)hash & in->mask;
    for (; in->table[at]; at = (at + 1) & in->mask) {
        const struct intern_item *item = &in->items[in->table[at] - 1];
        if (item->hash == hash && is_item(item, bytes, n)) {
            return in->last = in->table[at] - 1;
        }
    }
    void *copy = store(in, bytes, n);
    if (!copy) {
        in->is_failed = true;
        return COPPER_INTERN_NONE;
    }
    in->items[in->nitems] = (struct intern_item){copy, hash, n};
    in->last = in->nitems++;
    in->table[at] = in->nitems;
    return in->last;
}

uint32_t cu__intern_text(struct cu__interner *in, const char *text)
{
    return cu__intern(in, text, strlen(text) + 1);
}

const void *cu__interned(const struct cu__interner *in, uint32_t number, size_t *n)
{
    if (number >= in->nitems) {
        if (n) {
            *n = 0;
        }
        return NULL;
    }
    if (n) {
        *n = in->items[number].n;
    }
    return in->items[number].bytes;
}
