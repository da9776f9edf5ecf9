/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the runtime's thread-locals.
 *
 * Design: one structure, in the initial-exec model, so that a signal handler may read it (nothing
 * is ever allocated by the access). After a park a coroutine may be on another thread, and a
 * compiler that knew of a thread-local would keep using the old thread's address. So C never sees
 * it but in tls.c: what every primitive asks for, the worker, is read by an asm that finds address
 * and value in one go (arch.h), and the rest through functions that are never inlined.
 */
#ifndef COPPER_RUNTIME_TLS_H
#define COPPER_RUNTIME_TLS_H

#include "arch.h"
#include "types.h"

/* The calling worker; NULL on a plain thread. */
static inline struct cu__m *cu__m(void)
{
    return cu__tls_word();
}
/* The calling coroutine; NULL on a plain thread. (The scheduler's own stack calls no public door.)
 */
static inline struct cu__g *cu__g_self(void)
{
    struct cu__m *m = cu__m();
    return m ? m->g : NULL;
}
void cu__m_set(struct cu__m *m);

/* any: atomic; not 0: sysmon wants the calling thread's coroutine to give way (preempt.c). Seen by
 * code that is not the library's (safe_point_x86_64.S): part of its binary interface. Directly only
 * in a function that does not park before. */
extern __attribute__((visibility("default"),
                      tls_model("initial-exec"))) __thread unsigned char cu_safe_point_asked;
unsigned char *cu__safe_point_asked(void);

/* The id of the coroutine that the thread runs; 0: none. What copper/sync_inline.h compiles into
 * programs reads it: part of the binary interface. C code does not, but by way of arch.h. */
extern
    __attribute__((visibility("default"), tls_model("initial-exec"))) __thread cu_id cu_running_id;

/* Whom the calling worker runs; NULL: its own stack. */
static inline void cu__m_runs(struct cu__m *m, struct cu__g *g)
{
    store_relaxed(&m->g, g);
    cu__running_id_set(g ? g->id : 0);
}

const struct cu_labels *cu__thread_labels(void);
void cu__thread_labels_set(const struct cu_labels *labels);
struct cu_runtime_stats;
void cu__label_stats(struct cu_runtime_stats *out);
struct cu__scope *cu__thread_scope(void);
void cu__thread_scope_set(struct cu__scope *scope);

#endif
