/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see trace_model.h: what each kind of record means for the model. First whatever it needs
 * is made so (trace_model_states.h), then it is told.
 *
 * Concurrency: one thread at a time.
 */
#include "trace_model_notes.h"
#include "trace_model_states.h"

#include <stdlib.h>

/* ---- coroutines ------------------------------------------------------------------------------ */

/* What the tools look for: "network" is one profile, texts with "chan", "sync" or "select" are
 * another. */
static const char *reason_text(uint8_t reason)
{
    switch (reason) {
    case COPPER_WAIT_IO_WAIT:
        return "network";
    case COPPER_WAIT_SEM_ACQUIRE:
        return "sync.Semaphore.Acquire";
    case COPPER_WAIT_CTX_DONE:
        return "chan receive (context done)";
    case COPPER_WAIT_GROUP_WAIT:
        return "sync.ErrGroup.Wait";
    case COPPER_WAIT_POOL_SUBMIT:
        return "sync.Pool.Submit";
    case COPPER_WAIT_NONE:
        return "unspecified";
    default:
        return cu_wait_reason_text((enum cu_wait_reason)reason);
    }
}

/* The id of the reason's text. */
static inline uint64_t reason_id(struct cu__model *model, uint8_t reason)
{
    if (model->reasons[reason] == 0) {
        model->reasons[reason] = cu__model_string_id(model, reason_text(reason));
    }
    return model->reasons[reason];
}

static void on_created(struct cu__model *model, struct cu__model_m *m,
                       const struct cu__trace_record *r, struct cu__model_g *g, uint32_t stack)
{
    cu__model_recall(model, m, (int64_t)r->args[0]);
    if (!cu__model_is_unknown(g)) {
        return; /* it was made up when its creation was thought lost */
    }
    g->birth = cu__names_birth(&model->names, (const void *)(uintptr_t)r->args[1], g->id);
    if (m->p && m->p->status == COPPER_WIRE_P_RUNNING) {
        cu__model_mention_m(model, m);
        cu__model_create_g(model, m, g, stack);
    } else if (m->g || m->p) {
        cu__model_create_aside(model, model->self, g, stack);
    } else {
        cu__model_create_aside(model, m, g, COPPER_INTERN_NONE);
    }
}

static void on_ready(struct cu__model *model, struct cu__model_m *m,
                     const struct cu__trace_record *r, struct cu__model_g *g, uint32_t stack)
{
    if (r->words > COPPER_TRACE_HEAD_WORDS) {
        cu__model_recall(model, m, (int64_t)r->args[0]);
    }
    cu__model_make_waiting(model, g);
    cu__model_mention_m(model, m);
    cu__model_unblock(model, m, g, stack);
}

static void on_running(struct cu__model *model, struct cu__model_m *m,
                       const struct cu__trace_record *r, struct cu__model_g *g,
                       struct cu__model_p *p)
{
    if (r->words > COPPER_TRACE_HEAD_WORDS) {
        g->entry = r->args[0];
        cu__names_born(&model->names, g->birth, g->entry);
    }
    if (!p) {
        return;
    }
    if (m->g == g && g->m == m && m->p != p) {
        /* it got p without leaving its thread */
        cu__model_leave_without_p(model, g, COPPER_INTERN_NONE);
    } else if (m->g && m->g != g) {
        cu__model_displace(model, m->g);
    }
    if (g->status != COPPER_WIRE_G_RUNNABLE || g->is_guess) {
        cu__model_make_runnable(model, g);
    }
    cu__model_start_p(model, m, p);
    cu__model_start_g(model, m, g);
    cu__model_tell_labels(model, m, g);
    if (m->lost) {
        cu__model_tell_lost(model, m);
    }
}

static void on_parked(struct cu__model *model, struct cu__model_m *m,
                      const struct cu__trace_record *r, struct cu__model_g *g,
                      struct cu__model_p *p, uint32_t stack)
{
    if (!p) {
        cu__model_make_running_aside(model, g, m, stack);
    } else {
        cu__model_make_running(model, g, m, p);
    }
    cu__model_mention_m(model, m);
    COPPER_WRITE(model, m, GO_BLOCK, reason_id(model, r->reason), cu__model_stack_id(model, stack));
    cu__model_unbind_g(g, COPPER_WIRE_G_WAITING);
    if (!p) {
        cu__model_stop_p(model, m);
    }
}

static void on_yielded(struct cu__model *model, struct cu__model_m *m, struct cu__model_g *g,
                       struct cu__model_p *p, uint32_t stack)
{
    if (cu__model_make_running(model, g, m, p)) {
        cu__model_stop_g(model, g, "runtime.Gosched", stack);
    }
}

/* g found out that it lost its P, and waits for another. */
static void on_preempted(struct cu__model *model, struct cu__model_m *m, struct cu__model_g *g,
                         uint32_t stack)
{
    if (g->m == m && g->status != COPPER_WIRE_G_NONE) {
        cu__model_leave_without_p(model, g, stack);
    } else {
        cu__model_make_runnable(model, g);
    }
}

static void on_exited(struct cu__model *model, struct cu__model_m *m, struct cu__model_g *g,
                      struct cu__model_p *p)
{
    if (!p) {
        cu__model_make_running_aside(model, g, m, COPPER_INTERN_NONE);
    } else {
        cu__model_make_running(model, g, m, p);
    }
    cu__model_mention_m(model, m);
    COPPER_WRITE_BARE(model, m, GO_DESTROY);
    cu__model_unbind_g(g, COPPER_WIRE_G_NONE);
    if (!p) {
        cu__model_stop_p(model, m);
    }
    cu__model_forget_g(model, g);
}

/* One that lost its P without a call is shown in one already, which then goes on. */
static void on_syscall_begin(struct cu__model *model, struct cu__model_m *m, struct cu__model_g *g,
                             struct cu__model_p *p, uint32_t stack)
{
    bool is_shown = g->status == COPPER_WIRE_G_SYSCALL && g->m == m && !m->p;
    if (!is_shown && cu__model_make_running(model, g, m, p)) {
        cu__model_begin_call(model, g, stack);
    }
}

static void on_syscall_end(struct cu__model *model, struct cu__model_m *m, struct cu__model_g *g,
                           struct cu__model_p *p)
{
    if (p) {
        cu__model_make_running(model, g, m, p);
    } else if (g->m == m && g->status != COPPER_WIRE_G_NONE) {
        cu__model_leave_without_p(model, g, COPPER_INTERN_NONE);
    } else {
        cu__model_make_runnable(model, g);
    }
}

/* ---- P and threads --------------------------------------------------------------------------- */

/* p was taken from g, which goes on on the thread `tid` without one. Told by who took it, perhaps
 * after the thread has found out and told of it: then nothing is left to say. */
static void on_handoff(struct cu__model *model, struct cu__model_m *m,
                       const struct cu__trace_record *r, struct cu__model_g *g,
                       struct cu__model_p *p)
{
    struct cu__model_m *victim = cu__model_thread(model, (int32_t)r->args[0]);
    if (!victim || !p) {
        return;
    }
    if (p->status == COPPER_WIRE_P_NONE && g && cu__model_is_unknown(g)) {
        cu__model_make_running(model, g, victim, p);
    }
    if (victim->p != p) {
        return;
    }
    if (victim->g && victim->g->status == COPPER_WIRE_G_RUNNING) {
        cu__model_begin_call(model, victim->g, COPPER_INTERN_NONE);
    }
    if (victim == m || p->status != COPPER_WIRE_P_SYSCALL) {
        cu__model_stop_p(model, victim);
        return;
    }
    cu__model_mention_m(model, victim);
    cu__model_mention_m(model, m);
    COPPER_WRITE(model, m, PROC_STEAL, victim->p->id, ++victim->p->seq, victim->tid);
    cu__model_release_p(victim->p);
}

/* A coroutine that is still there lost another P before. */
static void on_p_started(struct cu__model *model, struct cu__model_m *m, struct cu__model_p *p)
{
    if (!p) {
        return;
    }
    if (m->g && m->p != p) {
        cu__model_leave_without_p(model, m->g, COPPER_INTERN_NONE);
    }
    cu__model_start_p(model, m, p);
}

static void on_p_stopped(struct cu__model *model, struct cu__model_m *m, struct cu__model_p *p)
{
    if (!p || (p->status == COPPER_WIRE_P_IDLE && m->p != p)) {
        return;
    }
    if (p->m != m) {
        cu__model_start_p(model, m, p);
    }
    cu__model_stop_p(model, m);
}

static void on_thread_ended(struct cu__model *model, struct cu__model_m *m)
{
    if (m->g) {
        cu__model_displace(model, m->g);
    }
    if (m->p) {
        cu__model_stop_p(model, m);
    }
}

void cu__model_thread_gone(struct cu__model *model, struct cu__model_m *m)
{
    on_thread_ended(model, m);
    if (m->batch) {
        cu__wire_flush(&model->wire, m->batch);
        free(m->batch);
        m->batch = NULL;
    }
}

/* ---- one record ------------------------------------------------------------------------------ */

bool cu__model_can(struct cu__model *model, struct cu__model_m *m, const struct cu__trace_record *r)
{
    const struct cu__model_p *p = cu__model_get_p(model, r->p);
    const struct cu__model_g *g = r->g ? cu__model_find_g(model, r->g) : NULL;
    bool is_known = g && !cu__model_is_unknown(g);
    bool p_is_free = !p || !p->m || p->m == m;
    switch ((enum cu__trace_kind)r->kind) {
    case COPPER_TRACE_READY:
        return !is_known || g->status == COPPER_WIRE_G_WAITING;
    case COPPER_TRACE_RUNNING:
        return (!is_known || g->status == COPPER_WIRE_G_RUNNABLE || g->m == m) && p_is_free;
    case COPPER_TRACE_P_STARTED:
        return p_is_free;
    default:
        return true;
    }
}

void cu__model_apply(struct cu__model *model, struct cu__model_m *m,
                     const struct cu__trace_record *r, uint32_t stack)
{
    struct cu__model_p *p = cu__model_get_p(model, r->p);
    struct cu__model_g *g = r->g ? cu__model_get_g(model, r->g) : NULL;
    if (model->is_failed) {
        return;
    }
    model->now_ns = r->now_ns;
    model->stats.applied++;
    if (stack != COPPER_INTERN_NONE) {
        const struct cu__model_g *self = m->g ? m->g : g;
        stack = cu__names_of(&model->names, stack, self ? self->entry : 0);
    }
    switch ((enum cu__trace_kind)r->kind) {
    case COPPER_TRACE_CREATED:
        on_created(model, m, r, g, stack);
        break;
    case COPPER_TRACE_READY:
        on_ready(model, m, r, g, stack);
        break;
    case COPPER_TRACE_RUNNING:
        on_running(model, m, r, g, p);
        break;
    case COPPER_TRACE_PARKED:
        on_parked(model, m, r, g, p, stack);
        break;
    case COPPER_TRACE_YIELDED:
        on_yielded(model, m, g, p, stack);
        break;
    case COPPER_TRACE_PREEMPTED:
        on_preempted(model, m, g, stack);
        break;
    case COPPER_TRACE_EXITED:
        on_exited(model, m, g, p);
        break;
    case COPPER_TRACE_SYSCALL_BEGIN:
        on_syscall_begin(model, m, g, p, stack);
        break;
    case COPPER_TRACE_SYSCALL_END:
        on_syscall_end(model, m, g, p);
        break;
    case COPPER_TRACE_HANDOFF:
        on_handoff(model, m, r, g, p);
        break;
    case COPPER_TRACE_P_STARTED:
        on_p_started(model, m, p);
        break;
    case COPPER_TRACE_P_STOPPED:
        on_p_stopped(model, m, p);
        break;
    case COPPER_TRACE_THREAD_ENDED:
        on_thread_ended(model, m);
        break;
    case COPPER_TRACE_PROCS:
        cu__model_procs(model, r->args[0]);
        cu__model_tell_procs(model, m, stack);
        break;
    case COPPER_TRACE_LABELS:
        g->labels = (const void *)(uintptr_t)r->args[0];
        g->labelled = 0;
        break;
    case COPPER_TRACE_TASK_BEGIN:
    case COPPER_TRACE_TASK_END:
    case COPPER_TRACE_REGION_BEGIN:
    case COPPER_TRACE_REGION_END:
    case COPPER_TRACE_LOG:
        cu__model_annotate(model, m, r, g, stack);
        break;
    case COPPER_TRACE_STACK:
    case COPPER_TRACE_KIND_COUNT:
        break;
    }
    m->guess_g = 0; /* what the inspection saw is older or newer than this, and no longer needed */
    cu__model_tell_heap(model, m);
    cu__model_tell_procs(model, m, COPPER_INTERN_NONE);
}
