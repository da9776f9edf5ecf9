/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see trace_perfetto_int.h: coroutines, threads and texts, found and made.
 */
#include "trace_perfetto_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STACK_SHOWN 12u /* frames of a stack in the text */

/* NULL: the failure is noted. */
struct cu__trace_item *cu__perfetto_get(struct cu__perfetto *x, uint64_t key)
{
    struct cu__trace_item *item = key ? cu__trace_item_get(&x->items, key) : NULL;
    if (!item) {
        cu__perfetto_fail(x, key ? -ENOMEM : -EBADMSG);
    }
    return item;
}

static bool make_room(struct cu__perfetto *x, uint32_t number)
{
    if (number < x->threads_cap) {
        return true;
    }
    uint32_t cap = x->threads_cap ? x->threads_cap * 2 : 256; /* numbers come one by one */
    struct cu__perfetto_thread *threads = realloc(x->threads, cap * sizeof(*threads));
    if (!threads) {
        return false;
    }
    memset(threads + x->threads_cap, 0, (cap - x->threads_cap) * sizeof(*threads));
    x->threads = threads;
    x->threads_cap = cap;
    return true;
}

/* NULL: the failure is noted. */
struct cu__perfetto_thread *cu__perfetto_thread_of(struct cu__perfetto *x, uint64_t tid)
{
    uint32_t number = cu__intern(&x->thread_ids, &tid, sizeof(tid));
    if (number == COPPER_INTERN_NONE || !make_room(x, number)) {
        cu__perfetto_fail(x, -ENOMEM);
        return NULL;
    }
    return &x->threads[number];
}

uint32_t cu__perfetto_intern(struct cu__perfetto *x, const void *bytes, size_t n)
{
    uint32_t number = n ? cu__intern(&x->texts, bytes, n) : COPPER_INTERN_NONE;
    if (x->texts.is_failed) {
        cu__perfetto_fail(x, -ENOMEM);
    }
    return number;
}

void cu__perfetto_put_text(struct cu__perfetto *x, uint32_t number)
{
    size_t n = 0;
    const void *bytes = cu__interned(&x->texts, number, &n);
    if (bytes) {
        cu__json_text(&x->out, bytes, n);
    }
}

/* The functions of a stack, leaf first, as one text; *root: the last one. */
static uint32_t read_functions(struct cu__perfetto *x, uint64_t id, struct cu__span *root)
{
    struct cu__span functions[COPPER_WIRE_FRAMES_MAX];
    char all[1024];
    size_t n = 0;
    unsigned count = cu__trace_read_stack(&x->in, id, functions);
    cu__perfetto_fail(x, x->in.err);
    *root = count ? functions[count - 1] : (struct cu__span){NULL, 0};
    for (unsigned i = 0; i < count && i < STACK_SHOWN; i++) {
        if (n + functions[i].n + 4 < sizeof(all)) {
            n += (size_t)snprintf(all + n, sizeof(all) - n, "%s%.*s", i ? " < " : "",
                                  (int)functions[i].n, (const char *)functions[i].bytes);
        }
    }
    return cu__perfetto_intern(x, all, n);
}

/* Calls a coroutine by the outermost function of its first stack. Returns the stack as a text. */
uint32_t cu__perfetto_learn(struct cu__perfetto *x, uint64_t key, uint64_t stack)
{
    struct cu__span root;
    uint32_t all = read_functions(x, stack, &root);
    struct cu__trace_item *g = cu__perfetto_find(x, key);
    if (g && root.n && (g->name == COPPER_INTERN_NONE || g->is_placeholder)) {
        static const char placeholder[] = "spawned by ";
        g->is_placeholder = root.n > sizeof(placeholder) - 1 &&
                            memcmp(root.bytes, placeholder, sizeof(placeholder) - 1) == 0;
        g->name = cu__perfetto_intern(x, root.bytes, root.n);
    }
    return all;
}
