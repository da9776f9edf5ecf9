/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see trace_perfetto.h: the states of coroutines and P as the events of trace_read.h tell
 * them, and the whole. trace_perfetto_int.h names the other parts.
 */
#include "trace_perfetto_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- states ---------------------------------------------------------------------------------- */

static struct cu__span word(const char *text)
{
    return (struct cu__span){(const unsigned char *)text, strlen(text)};
}

static void set_state(struct cu__perfetto *x, struct cu__trace_item *g, enum cu__wire_g state)
{
    x->counts[g->state]--;
    x->counts[state]++;
    g->state = (uint8_t)state;
    if (state == COPPER_WIRE_G_RUNNABLE) {
        g->ready_ns = x->now_ns;
    }
    x->is_count_due = true;
}

static void on_proc_status(struct cu__perfetto *x, struct cu__perfetto_thread *m,
                           const uint64_t *args)
{
    if (args[0] >= COPPER_PERFETTO_PLACES) {
        return;
    }
    cu__perfetto_name_track(x, &x->places[args[0]]);
    if (args[1] != COPPER_WIRE_P_IDLE) {
        m->p = args[0] + 1;
    }
}

static void on_status(struct cu__perfetto *x, const uint64_t *args)
{
    bool is_known = cu__perfetto_find(x, args[0]) != NULL;
    struct cu__trace_item *g = cu__perfetto_get(x, args[0]);
    if (!g || is_known || args[2] >= COPPER_WIRE_G_COUNT) {
        return;
    }
    set_state(x, g, (enum cu__wire_g)args[2]);
    if (g->state != COPPER_WIRE_G_RUNNING && g->state != COPPER_WIRE_G_SYSCALL) {
        return;
    }
    struct cu__perfetto_thread *m = cu__perfetto_thread_of(x, args[1]);
    struct cu__perfetto_place *p = m ? cu__perfetto_place_of(x, m) : NULL;
    if (m) {
        m->g = args[0];
    }
    if (p) {
        cu__perfetto_begin_slice(x, p, g);
        p->is_from_before = true;
        p->call_ns = g->state == COPPER_WIRE_G_SYSCALL ? x->now_ns : COPPER_PERFETTO_NO_CALL;
        p->call_stack = COPPER_INTERN_NONE;
    }
}

static void on_start(struct cu__perfetto *x, struct cu__perfetto_thread *m, uint64_t id)
{
    struct cu__trace_item *g = cu__perfetto_get(x, id);
    struct cu__perfetto_place *p = cu__perfetto_place_of(x, m);
    m->g = id;
    if (g && p) {
        cu__perfetto_begin_slice(x, p, g);
        set_state(x, g, COPPER_WIRE_G_RUNNING);
    }
}

/* The coroutine that runs on m stops to. */
static void on_stop(struct cu__perfetto *x, struct cu__perfetto_thread *m, enum cu__wire_g state,
                    struct cu__span why, uint64_t stack)
{
    uint32_t all = cu__perfetto_learn(x, m->g, stack);
    struct cu__trace_item *g = cu__perfetto_find(x, m->g);
    cu__perfetto_end_slice(x, cu__perfetto_place_of(x, m), why, all);
    m->g = 0;
    if (g && state == COPPER_WIRE_G_NONE) {
        x->counts[g->state]--;
        x->is_count_due = true;
        cu__trace_item_forget(&x->items, g);
    } else if (g) {
        set_state(x, g, state);
    }
}

static void on_call_begin(struct cu__perfetto *x, struct cu__perfetto_thread *m, uint64_t stack)
{
    uint32_t all = cu__perfetto_learn(x, m->g, stack);
    struct cu__perfetto_place *p = cu__perfetto_place_of(x, m);
    struct cu__trace_item *g = cu__perfetto_find(x, m->g);
    if (p && p->is_open) {
        p->call_ns = x->now_ns;
        p->call_stack = all;
    }
    if (g) {
        set_state(x, g, COPPER_WIRE_G_SYSCALL);
    }
}

static void on_call_end(struct cu__perfetto *x, struct cu__perfetto_thread *m, bool has_p)
{
    struct cu__trace_item *g = cu__perfetto_find(x, m->g);
    struct cu__perfetto_place *p = cu__perfetto_place_of(x, m);
    if (p && has_p) {
        cu__perfetto_end_call(x, p);
    }
    if (g) {
        set_state(x, g, has_p ? COPPER_WIRE_G_RUNNING : COPPER_WIRE_G_RUNNABLE);
    }
    m->g = has_p ? m->g : 0;
}

/* Its P leaves m. */
static void on_p_gone(struct cu__perfetto *x, struct cu__perfetto_thread *m, const char *why)
{
    cu__perfetto_end_slice(x, cu__perfetto_place_of(x, m), word(why), COPPER_INTERN_NONE);
    m->p = 0;
}

static void on_created(struct cu__perfetto *x, const struct cu__perfetto_thread *m,
                       const uint64_t *args)
{
    struct cu__trace_item *g = cu__perfetto_get(x, args[0]);
    if (g) {
        set_state(x, g, COPPER_WIRE_G_RUNNABLE);
        cu__perfetto_begin_flow(x, m, g, true);
        cu__perfetto_learn(x, args[0], args[1]);
        cu__perfetto_learn(x, m->g, args[2]);
    }
}

static void on_unblock(struct cu__perfetto *x, const struct cu__perfetto_thread *m,
                       const uint64_t *args)
{
    struct cu__trace_item *g = cu__perfetto_get(x, args[0]);
    if (g) {
        set_state(x, g, COPPER_WIRE_G_RUNNABLE);
        cu__perfetto_begin_flow(x, m, g, false);
        cu__perfetto_learn(x, m->g, args[2]);
    }
}

static void on_event(struct cu__perfetto *x, const struct cu__trace_event *e)
{
    struct cu__perfetto_thread *m = cu__perfetto_thread_of(x, e->thread), *from;
    if (!m) {
        return;
    }
    switch (e->type) {
    case COPPER_WIRE_PROC_STATUS:
        on_proc_status(x, m, e->args);
        break;
    case COPPER_WIRE_PROC_START:
        m->p = e->args[0] < COPPER_PERFETTO_PLACES ? e->args[0] + 1 : 0;
        break;
    case COPPER_WIRE_PROC_STOP:
        on_p_gone(x, m, "P given up");
        break;
    case COPPER_WIRE_PROC_STEAL:
        from = cu__perfetto_thread_of(x, e->args[2]);
        if (from) {
            on_p_gone(x, from, "P taken");
        }
        break;
    case COPPER_WIRE_GO_STATUS:
        on_status(x, e->args);
        break;
    case COPPER_WIRE_GO_CREATE:
        on_created(x, m, e->args);
        break;
    case COPPER_WIRE_GO_START:
        on_start(x, m, e->args[0]);
        break;
    case COPPER_WIRE_GO_STOP:
        on_stop(x, m, COPPER_WIRE_G_RUNNABLE, cu__trace_read_string(&x->in, e->args[0]),
                e->args[1]);
        break;
    case COPPER_WIRE_GO_BLOCK:
        on_stop(x, m, COPPER_WIRE_G_WAITING, cu__trace_read_string(&x->in, e->args[0]), e->args[1]);
        break;
    case COPPER_WIRE_GO_DESTROY:
        on_stop(x, m, COPPER_WIRE_G_NONE, word("exit"), 0);
        break;
    case COPPER_WIRE_GO_UNBLOCK:
        on_unblock(x, m, e->args);
        break;
    case COPPER_WIRE_GO_SYSCALL_BEGIN:
        on_call_begin(x, m, e->args[1]);
        break;
    case COPPER_WIRE_GO_SYSCALL_END:
        on_call_end(x, m, true);
        break;
    case COPPER_WIRE_GO_SYSCALL_END_BLOCKED:
        on_call_end(x, m, false);
        break;
    default:
        cu__perfetto_note(x, m, e);
        break;
    }
}

/* ---- the whole ------------------------------------------------------------------------------- */

static void begin_text(struct cu__perfetto *x)
{
    cu__json_say(&x->out, "{\"displayTimeUnit\":\"ns\",\"otherData\":{\"clock\":\"CLOCK_"
                          "MONOTONIC\"},\"traceEvents\":[\n");
    cu__json_event(&x->out, 'M', 0, 0);
    cu__json_say(&x->out, ",\"name\":\"process_name\",\"args\":{\"name\":\"");
    cu__json_text(&x->out, program_invocation_short_name, strlen(program_invocation_short_name));
    cu__json_say(&x->out, "\"}}");
}

struct cu__perfetto *cu__perfetto_new(cu__trace_sink *sink, void *arg)
{
    struct cu__perfetto *x = calloc(1, sizeof(*x));
    if (x) {
        x->out.sink = sink;
        x->out.arg = arg;
        begin_text(x);
    }
    return x;
}

int cu__perfetto_add(struct cu__perfetto *x, const unsigned char *bytes, size_t n)
{
    struct cu__trace_event event;
    cu__perfetto_fail(x, cu__trace_read_begin(&x->in, bytes, n));
    while (!x->out.err && cu__trace_read_next(&x->in, &event)) {
        cu__perfetto_count(x, event.now_ns);
        x->now_ns = event.now_ns;
        on_event(x, &event);
        cu__perfetto_fail(x, x->in.err);
    }
    return x->out.err;
}

int cu__perfetto_end(struct cu__perfetto *x)
{
    for (uint32_t i = 0; i < COPPER_PERFETTO_PLACES; i++) {
        cu__perfetto_end_slice(x, &x->places[i], word("end of the trace"), COPPER_INTERN_NONE);
    }
    cu__perfetto_count(x, INT64_MAX);
    cu__json_say(&x->out, "\n]}\n");
    cu__json_flush(&x->out);
    return x->out.err;
}

void cu__perfetto_free(struct cu__perfetto *x)
{
    if (x) {
        cu__interner_clear(&x->texts);
        cu__interner_clear(&x->thread_ids);
        cu__trace_items_clear(&x->items);
        cu__trace_reader_clear(&x->in);
        free(x->threads);
        free(x);
    }
}
