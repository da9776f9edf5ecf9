/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see trace_wire.h.
 */
#include "trace_wire.h"

#include "pages.h"

#include <stdlib.h>
#include <string.h>

static void append(struct cu__wire *w, const void *bytes, size_t n)
{
    if (w->n + n > w->cap && !w->is_failed) {
        size_t cap = w->cap ? w->cap * 2 : 4 * COPPER_WIRE_BATCH_MAX;
        while (cap < w->n + n) {
            cap *= 2;
        }
        unsigned char *grown =
            w->cap ? cu__pages_resize(w->bytes, w->cap, cap) : cu__pages_map(cap);
        w->is_failed = grown == NULL;
        w->bytes = grown ? grown : w->bytes;
        w->cap = grown ? cap : w->cap;
    }
    if (!w->is_failed) {
        memcpy(w->bytes + w->n, bytes, n);
        w->n += n;
    }
}

void cu__wire_flush(struct cu__wire *w, struct cu__wire_batch *b)
{
    if (b->n == 0) {
        return;
    }
    unsigned char head[1 + 4 * COPPER_WIRE_VARINT_MAX] = {COPPER_WIRE_BATCH};
    size_t n = 1;
    n += cu__varint(head + n, w->generation);
    n += cu__varint(head + n, b->thread);
    n += cu__varint(head + n, b->began);
    n += cu__varint(head + n, b->n);
    append(w, head, n);
    append(w, b->payload, b->n);
    b->n = 0;
}

static void open_batch(struct cu__wire_batch *b, uint64_t time)
{
    b->began = b->last = time;
}

void cu__wire_turn(struct cu__wire *w, struct cu__wire_batch *b, uint64_t time)
{
    cu__wire_flush(w, b);
    open_batch(b, time);
}

void cu__wire_entry(struct cu__wire *w, struct cu__wire_batch *b, enum cu__wire_type marker,
                    int64_t now_ns, const void *entry, size_t n)
{
    if (b->n + n > COPPER_WIRE_BATCH_MAX) {
        cu__wire_flush(w, b);
    }
    if (b->n == 0) {
        open_batch(b, cu__wire_time(now_ns));
        b->payload[b->n++] = (unsigned char)marker;
    }
    memcpy(b->payload + b->n, entry, n);
    b->n += (uint32_t)n;
}

void cu__wire_begin(struct cu__wire *w, uint64_t generation, int64_t now_ns)
{
    *w = (struct cu__wire){.generation = generation};
    unsigned char event[1 + COPPER_WIRE_VARINT_MAX] = {COPPER_WIRE_FREQ};
    size_t n = 1 + cu__varint(event + 1, COPPER_WIRE_FREQUENCY);
    unsigned char head[1 + 4 * COPPER_WIRE_VARINT_MAX] = {COPPER_WIRE_BATCH};
    size_t at = 1;
    at += cu__varint(head + at, generation);
    at += cu__varint(head + at, COPPER_WIRE_NO_THREAD);
    at += cu__varint(head + at, cu__wire_time(now_ns));
    at += cu__varint(head + at, n);
    append(w, head, at);
    append(w, event, n);
}

uint64_t cu__wire_string(struct cu__wire *w, const char *text, size_t n)
{
    if (n == 0) {
        return 0;
    }
    uint32_t number =
        cu__intern(&w->strings, text, n < COPPER_WIRE_TEXT_MAX ? n : COPPER_WIRE_TEXT_MAX);
    w->is_failed |= number == COPPER_INTERN_NONE;
    return number == COPPER_INTERN_NONE ? 0 : (uint64_t)number + 1;
}

void cu__wire_strings(struct cu__wire *w, struct cu__wire_batch *b, int64_t now_ns)
{
    unsigned char entry[1 + 2 * COPPER_WIRE_VARINT_MAX + COPPER_WIRE_TEXT_MAX];
    for (uint32_t i = 0; i < w->strings.nitems; i++) {
        size_t length, n = 1;
        const void *text = cu__interned(&w->strings, i, &length);
        entry[0] = COPPER_WIRE_STRING;
        n += cu__varint(entry + n, i + 1);
        n += cu__varint(entry + n, length);
        memcpy(entry + n, text, length);
        cu__wire_entry(w, b, COPPER_WIRE_STRINGS, now_ns, entry, n + length);
    }
    cu__wire_flush(w, b);
}

unsigned char *cu__wire_take(struct cu__wire *w, size_t *n)
{
    unsigned char *bytes = w->bytes;
    if (w->is_failed || w->n == 0) {
        cu__pages_unmap(bytes, w->cap);
        bytes = NULL;
    } else {
        cu__pages_resize(bytes, w->cap, w->n); /* to be unmapped by what it holds */
    }
    *n = w->n;
    cu__interner_clear(&w->strings);
    *w = (struct cu__wire){.n = 0};
    return bytes;
}

void cu__wire_clear(struct cu__wire *w)
{
    size_t n;
    unsigned char *bytes = cu__wire_take(w, &n);
    cu__pages_unmap(bytes, n);
}
