/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the only file with thread-locals; see tls.h.
 */
#include "tls.h"

#define INITIAL_EXEC __attribute__((tls_model("initial-exec")))
/* Neither inlined nor looked into: the empty asm keeps the result from being thought constant. */
#define ACCESSOR noinline
#define OPAQUE() __asm__ volatile("" ::: "memory")

static INITIAL_EXEC __thread struct {
    struct cu__m *m;
    const struct cu_labels *labels; /* plain threads */
    struct cu__scope *scope;        /* plain threads */
} tls;

INITIAL_EXEC __thread unsigned char cu_safe_point_asked;

ACCESSOR unsigned char *cu__safe_point_asked(void)
{
    OPAQUE();
    return &cu_safe_point_asked;
}

ACCESSOR struct cu__m *cu__m(void)
{
    OPAQUE();
    return tls.m;
}

ACCESSOR struct cu__g *cu__g_self(void)
{
    OPAQUE();
    struct cu__m *m = tls.m;
    return m ? m->g : NULL;
}

ACCESSOR void cu__m_set(struct cu__m *m)
{
    OPAQUE();
    tls.m = m;
}

ACCESSOR const struct cu_labels *cu__thread_labels(void)
{
    OPAQUE();
    return tls.labels;
}

ACCESSOR void cu__thread_labels_set(const struct cu_labels *labels)
{
    OPAQUE();
    tls.labels = labels;
}

ACCESSOR struct cu__scope *cu__thread_scope(void)
{
    OPAQUE();
    return tls.scope;
}

ACCESSOR void cu__thread_scope_set(struct cu__scope *scope)
{
    OPAQUE();
    tls.scope = scope;
}
