/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see held.h.
 */
#include "held.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COPPER_HELD_CAP_MIN 64u /* a power of two */

struct cu__held_value {
    const void *value;
    struct cu__held_stack *stack; /* NULL: this place is free */
};

/* ---- stacks ---------------------------------------------------------------------------------- */

static uint64_t hash_of(const cu_frame *frames, unsigned n)
{
    uint64_t hash = n;
    for (unsigned i = 0; i < n; i++) {
        hash = (hash ^ frames[i]) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 32;
    }
    return hash;
}

static bool is_same(const struct cu__held_stack *s, uint64_t hash, const cu_frame *frames,
                    unsigned n, bool is_cut)
{
    return s->hash == hash && s->n == n && s->is_cut == is_cut &&
           memcmp(s->frames, frames, n * sizeof *frames) == 0;
}

/* NULL: out of memory. */
static struct cu__held_stack *stack_of(struct cu__held *h, const cu_frame *frames, unsigned n,
                                       bool is_cut)
{
    uint64_t hash = hash_of(frames, n);
    struct cu__held_stack **bucket = &h->buckets[hash % COPPER_HELD_BUCKETS];
    for (struct cu__held_stack *s = *bucket; s; s = s->next) {
        if (is_same(s, hash, frames, n, is_cut)) {
            return s;
        }
    }
    if (n == 0 || h->nstacks == COPPER_HELD_STACKS_MAX) {
        return &h->unknown;
    }
    struct cu__held_stack *s = malloc(sizeof *s + n * sizeof *frames);
    if (s) {
        *s = (struct cu__held_stack){.next = *bucket, .hash = hash, .is_cut = is_cut, .n = n};
        memcpy(s->frames, frames, n * sizeof *frames);
        *bucket = s;
        h->nstacks++;
    }
    return s;
}

static void drop_unused(struct cu__held *h, struct cu__held_stack *s)
{
    if (s->count > 0 || s == &h->unknown) {
        return;
    }
    struct cu__held_stack **at = &h->buckets[s->hash % COPPER_HELD_BUCKETS];
    while (*at != s) {
        at = &(*at)->next;
    }
    *at = s->next;
    h->nstacks--;
    free(s);
}

/* ---- values ---------------------------------------------------------------------------------- */

static size_t home_of(const void *value, size_t cap)
{
    uint64_t hash = (uint64_t)(uintptr_t)value * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(hash ^ hash >> 29) & (cap - 1);
}

/* Its place, or the free one where it would be. There is a free one. */
static size_t find(const struct cu__held_value *values, size_t cap, const void *value)
{
    size_t at = home_of(value, cap);
    while (values[at].stack && values[at].value != value) {
        at = (at + 1) & (cap - 1);
    }
    return at;
}

static int grow(struct cu__held *h)
{
    size_t cap = h->cap ? 2 * h->cap : COPPER_HELD_CAP_MIN;
    struct cu__held_value *values = calloc(cap, sizeof *values);
    if (!values) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < h->cap; i++) {
        if (h->values[i].stack) {
            values[find(values, cap, h->values[i].value)] = h->values[i];
        }
    }
    free(h->values);
    h->values = values;
    h->cap = cap;
    return 0;
}

int cu__held_add(struct cu__held *h, const void *value, const cu_frame *frames, unsigned n,
                 bool is_cut)
{
    if (h->cap && h->values[find(h->values, h->cap, value)].stack) {
        return -EEXIST;
    }
    if (h->n == COPPER_HELD_VALUES_MAX) {
        return -ENOSPC;
    }
    if (2 * (h->n + 1) > h->cap && grow(h) != 0) {
        return -ENOMEM;
    }
    struct cu__held_stack *stack = stack_of(h, frames, n, is_cut);
    if (!stack) {
        return -ENOMEM;
    }
    stack->count++;
    h->values[find(h->values, h->cap, value)] = (struct cu__held_value){value, stack};
    h->n++;
    return 0;
}

/* The entries behind a place that became free move up, as far as their homes allow. */
static void close_gap(struct cu__held *h, size_t gap)
{
    size_t mask = h->cap - 1;
    for (size_t at = (gap + 1) & mask; h->values[at].stack; at = (at + 1) & mask) {
        size_t home = home_of(h->values[at].value, h->cap);
        if (((at - home) & mask) >= ((at - gap) & mask)) {
            h->values[gap] = h->values[at];
            gap = at;
        }
    }
    h->values[gap].stack = NULL;
}

bool cu__held_remove(struct cu__held *h, const void *value)
{
    size_t at = h->cap ? find(h->values, h->cap, value) : 0;
    struct cu__held_stack *stack = h->cap ? h->values[at].stack : NULL;
    if (!stack) {
        return false;
    }
    close_gap(h, at);
    h->n--;
    stack->count--;
    drop_unused(h, stack);
    return true;
}

/* ---- reading --------------------------------------------------------------------------------- */

static int by_count(const void *a, const void *b)
{
    const struct cu__held_counted *x = a, *y = b;
    return x->count != y->count ? (x->count < y->count ? 1 : -1)
                                : (x->first > y->first) - (x->first < y->first);
}

static void copy_stack(struct cu__held_copy *to, cu_frame *frames, size_t *used,
                       const struct cu__held_stack *s)
{
    to->stacks[to->n++] = (struct cu__held_counted){*used, s->n, s->is_cut, s->count};
    to->total += s->count;
    memcpy(frames + *used, s->frames, s->n * sizeof *frames);
    *used += s->n;
}

struct cu__held_copy *cu__held_copy(const struct cu__held *h)
{
    size_t nframes = 0, used = 0;
    for (size_t i = 0; i < COPPER_HELD_BUCKETS; i++) {
        for (const struct cu__held_stack *s = h->buckets[i]; s; s = s->next) {
            nframes += s->n;
        }
    }
    size_t head = sizeof(struct cu__held_copy) + (h->nstacks + 1) * sizeof(struct cu__held_counted);
    struct cu__held_copy *c = malloc(head + nframes * sizeof(cu_frame));
    if (!c) {
        return NULL;
    }
    cu_frame *frames = (cu_frame *)((char *)c + head);
    c->n = 0;
    c->total = 0;
    c->frames = frames;
    for (size_t i = 0; i < COPPER_HELD_BUCKETS; i++) {
        for (const struct cu__held_stack *s = h->buckets[i]; s; s = s->next) {
            copy_stack(c, frames, &used, s);
        }
    }
    if (h->unknown.count > 0) {
        copy_stack(c, frames, &used, &h->unknown);
    }
    qsort(c->stacks, c->n, sizeof c->stacks[0], by_count);
    return c;
}
