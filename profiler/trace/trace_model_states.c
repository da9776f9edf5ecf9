/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see trace_model_states.h.
 */
#include "trace_model_states.h"

/* ---- steps ----------------------------------------------------------------------------------- */

static void bind_p(struct cu__model_p *p, struct cu__model_m *m)
{
    p->status = COPPER_WIRE_P_RUNNING;
    p->m = m;
    m->p = m->last_p = p;
}

void cu__model_release_p(struct cu__model_p *p)
{
    p->m->p = NULL;
    p->m = NULL;
    p->status = COPPER_WIRE_P_IDLE;
}

void cu__model_stop_g(struct cu__model *model, struct cu__model_g *g, const char *reason,
                      uint32_t stack)
{
    cu__model_mention_m(model, g->m);
    COPPER_WRITE(model, g->m, GO_STOP, cu__model_string_id(model, reason),
                 cu__model_stack_id(model, stack));
    cu__model_unbind_g(g, COPPER_WIRE_G_RUNNABLE);
}

void cu__model_stop_p(struct cu__model *model, struct cu__model_m *m)
{
    if (m->g && m->g->status == COPPER_WIRE_G_RUNNING) {
        model->stats.mended++;
        cu__model_stop_g(model, m->g, "unspecified", COPPER_INTERN_NONE);
    }
    cu__model_mention_m(model, m);
    COPPER_WRITE_BARE(model, m, PROC_STOP);
    cu__model_release_p(m->p);
}

/* Back from a call, its P lost. */
static void end_call_blocked(struct cu__model *model, struct cu__model_g *g)
{
    if (g->m->p && g->m->p->status == COPPER_WIRE_P_SYSCALL) {
        cu__model_stop_p(model, g->m);
    }
    cu__model_mention_m(model, g->m);
    COPPER_WRITE_BARE(model, g->m, GO_SYSCALL_END_BLOCKED);
    cu__model_unbind_g(g, COPPER_WIRE_G_RUNNABLE);
}

void cu__model_begin_call(struct cu__model *model, struct cu__model_g *g, uint32_t stack)
{
    cu__model_mention_m(model, g->m);
    COPPER_WRITE(model, g->m, GO_SYSCALL_BEGIN, ++g->m->p->seq, cu__model_stack_id(model, stack));
    g->status = COPPER_WIRE_G_SYSCALL;
    g->m->p->status = COPPER_WIRE_P_SYSCALL;
}

void cu__model_end_call(struct cu__model *model, struct cu__model_g *g)
{
    cu__model_mention_m(model, g->m);
    COPPER_WRITE_BARE(model, g->m, GO_SYSCALL_END);
    g->status = COPPER_WIRE_G_RUNNING;
    g->m->p->status = COPPER_WIRE_P_RUNNING;
}

void cu__model_create_g(struct cu__model *model, struct cu__model_m *m, struct cu__model_g *g,
                        uint32_t stack)
{
    COPPER_WRITE(model, m, GO_CREATE, (uint64_t)g->id, cu__model_stack_id(model, g->birth),
                 cu__model_stack_id(model, stack));
    g->status = COPPER_WIRE_G_RUNNABLE;
    g->generation = model->generation;
    g->seq = 0;
    g->is_guess = false;
}

void cu__model_create_aside(struct cu__model *model, struct cu__model_m *m, struct cu__model_g *g,
                            uint32_t stack)
{
    cu__model_start_p(model, m, cu__model_spare(model));
    cu__model_create_g(model, m, g, stack);
    cu__model_stop_p(model, m);
}

/* ---- from wherever it is --------------------------------------------------------------------- */

/* g, on a thread, has lost its P and leaves the thread. It was in a call as far as a reader knows,
 * or is so from now on: the hand-off may be told later than what the coroutine itself tells. */
void cu__model_leave_without_p(struct cu__model *model, struct cu__model_g *g, uint32_t stack)
{
    if (g->status == COPPER_WIRE_G_RUNNING) {
        cu__model_begin_call(model, g, stack);
    }
    end_call_blocked(model, g);
}

void cu__model_displace(struct cu__model *model, struct cu__model_g *g)
{
    model->stats.mended++;
    if (g->status == COPPER_WIRE_G_SYSCALL) {
        end_call_blocked(model, g);
    } else {
        cu__model_stop_g(model, g, "unspecified", COPPER_INTERN_NONE);
    }
}

void cu__model_reach_p(struct cu__model *model, struct cu__model_m *m, struct cu__model_p *p)
{
    if (m->p) {
        cu__model_stop_p(model, m);
    }
    if (p->m) {
        model->stats.mended++;
        cu__model_stop_p(model, p->m);
    }
    if (p->status == COPPER_WIRE_P_NONE && p != cu__model_spare(model)) {
        bind_p(p, m); /* it was there all the time: mentioned as running */
        return;
    }
    p->status = COPPER_WIRE_P_IDLE;
    cu__model_mention_p(model, p, m);
    COPPER_WRITE(model, m, PROC_START, p->id, ++p->seq);
    bind_p(p, m);
}

/* What happens to g first says in which state it was. Only the first generation of a file may
 * introduce coroutines so; later ones must create them. False: it was created, and is runnable. */
static bool introduce(struct cu__model *model, struct cu__model_g *g, enum cu__wire_g status)
{
    g->is_guess = false;
    if (model->generation == model->first_generation) {
        g->status = (uint8_t)status;
        return true;
    }
    model->stats.mended++;
    cu__model_create_aside(model, model->self, g, COPPER_INTERN_NONE);
    return false;
}

void cu__model_make_runnable(struct cu__model *model, struct cu__model_g *g)
{
    if (cu__model_is_unknown(g)) {
        introduce(model, g, COPPER_WIRE_G_RUNNABLE);
    } else if (g->status == COPPER_WIRE_G_WAITING) {
        model->stats.mended++;
        cu__model_unblock(model, &model->nobody, g, COPPER_INTERN_NONE);
    } else if (g->m) {
        cu__model_displace(model, g);
    }
}

void cu__model_reach_waiting(struct cu__model *model, struct cu__model_g *g)
{
    if (cu__model_is_unknown(g) && introduce(model, g, COPPER_WIRE_G_WAITING)) {
        return;
    }
    if (g->status == COPPER_WIRE_G_WAITING) {
        return;
    }
    model->stats.mended++;
    cu__model_make_runnable(model, g);
    cu__model_start_p(model, model->self, cu__model_spare(model));
    cu__model_start_g(model, model->self, g);
    COPPER_WRITE(model, model->self, GO_BLOCK, cu__model_string_id(model, "unspecified"), 0);
    cu__model_unbind_g(g, COPPER_WIRE_G_WAITING);
    cu__model_stop_p(model, model->self);
}

bool cu__model_reach_running(struct cu__model *model, struct cu__model_g *g, struct cu__model_m *m,
                             struct cu__model_p *p)
{
    if (p == NULL) {
        return g->status == COPPER_WIRE_G_RUNNING && g->m == m;
    }
    if (g->status == COPPER_WIRE_G_SYSCALL && g->m == m && m->p == p &&
        p->status == COPPER_WIRE_P_SYSCALL) {
        cu__model_end_call(model, g); /* it parks within the call, say */
        return true;
    }
    bool is_new = cu__model_is_unknown(g) && model->generation == model->first_generation;
    if (is_new) {
        g->is_guess = false;
        g->status = COPPER_WIRE_G_RUNNABLE;
    } else {
        model->stats.mended++;
        cu__model_make_runnable(model, g);
    }
    if (m->g) {
        cu__model_displace(model, m->g);
    }
    cu__model_start_p(model, m, p);
    if (is_new) {
        cu__model_bind_g(g, m, COPPER_WIRE_G_RUNNING);
    } else {
        cu__model_start_g(model, m, g);
    }
    return true;
}

/* g runs on m, and has lost its P. What it does next the format knows only of one that has a P: it
 * runs on the spare one just for that. */
void cu__model_make_running_aside(struct cu__model *model, struct cu__model_g *g,
                                  struct cu__model_m *m, uint32_t stack)
{
    if (g->m == m && g->status != COPPER_WIRE_G_NONE) {
        cu__model_leave_without_p(model, g, stack);
    } else if (g->status != COPPER_WIRE_G_RUNNABLE || g->is_guess) {
        cu__model_make_runnable(model, g);
    }
    if (m->g) {
        cu__model_displace(model, m->g);
    }
    cu__model_start_p(model, m, cu__model_spare(model));
    cu__model_start_g(model, m, g);
}

/* g, as it says, is the one that runs on m: at the beginning of a recording nothing else says so.
 */
void cu__model_recall(struct cu__model *model, struct cu__model_m *m, int64_t id)
{
    if (m->g || id == 0 || m->guess_g != id) {
        return;
    }
    struct cu__model_g *g = cu__model_get_g(model, id);
    struct cu__model_p *p = cu__model_get_p(model, m->guess_p);
    if (!g || !cu__model_is_unknown(g) || model->generation != model->first_generation) {
        return;
    }
    if (p && p->status == COPPER_WIRE_P_NONE) {
        cu__model_make_running(model, g, m, p);
    } else if (m->guess_p < 0 && !m->p) {
        g->is_guess = false;
        cu__model_bind_g(g, m, COPPER_WIRE_G_SYSCALL); /* its P was taken before the trace began */
    }
}
