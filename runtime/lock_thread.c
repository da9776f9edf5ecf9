/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: cu_lock_thread: a coroutine with a thread of its own.
 *
 * Design: such a coroutine is never in a queue. When it stops, its thread gives its P away and
 * sleeps; when it is readied, its thread gets a P, or joins those that wait for one (supply.c). So
 * picking a coroutine need not ask whether it may run here.
 */
#include <copper/go.h>

#include "schedule.h"
#include "tls.h"

void cu_lock_thread(void)
{
    struct cu__g *g = cu__g_self();
    if (g == NULL) {
        return;
    }
    struct cu__m *m = cu__m();
    if (m->lock_depth++ == 0) {
        m->locked_g = g;
        store_relaxed(&g->locked_m, m);
        store_relaxed(&g->is_locked, true);
    }
}

void cu_unlock_thread(void)
{
    struct cu__g *g = cu__g_self();
    if (g == NULL || !g->is_locked) {
        return;
    }
    struct cu__m *m = cu__m();
    if (--m->lock_depth == 0) {
        m->locked_g = NULL;
        store_relaxed(&g->is_locked, false);
    }
}

/* As in Go: what it did to the thread is not known, so nobody else gets it. */
void cu__lock_ended(struct cu__m *m, struct cu__g *g)
{
    m->lock_depth = 0;
    m->locked_g = NULL;
    m->must_end = true;
    store_relaxed(&g->is_locked, false);
}
