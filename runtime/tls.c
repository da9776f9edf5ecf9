/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the only file with thread-locals; see tls.h.
 */
#include "tls.h"

/* Neither inlined nor looked into: the empty asm keeps the result from being thought constant. */
#define ACCESSOR noinline
#define OPAQUE() __asm__ volatile("" ::: "memory")

/* The asm in arch.h knows its name, and that m comes first. */
hidden __thread struct {
    struct cu__m *m;
    const struct cu_labels *labels; /* plain threads */
    struct cu__scope *scope;        /* plain threads */
} cu__tls __attribute__((used, tls_model("initial-exec")));

__thread unsigned char cu_safe_point_asked;
__thread cu_id cu_running_id;

ACCESSOR unsigned char *cu__safe_point_asked(void)
{
    OPAQUE();
    return &cu_safe_point_asked;
}

ACCESSOR void cu__m_set(struct cu__m *m)
{
    OPAQUE();
    cu__tls.m = m;
    cu_running_id = 0; /* also in a forked child, whose thread is no worker any more */
}

ACCESSOR const struct cu_labels *cu__thread_labels(void)
{
    OPAQUE();
    return cu__tls.labels;
}

ACCESSOR void cu__thread_labels_set(const struct cu_labels *labels)
{
    OPAQUE();
    cu__tls.labels = labels;
}

ACCESSOR struct cu__scope *cu__thread_scope(void)
{
    OPAQUE();
    return cu__tls.scope;
}

ACCESSOR void cu__thread_scope_set(struct cu__scope *scope)
{
    OPAQUE();
    cu__tls.scope = scope;
}
