/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see trace_perfetto_int.h: what the program says, and numbers of the process.
 */
#include "trace_perfetto_int.h"

#define TASK_BIT (UINT64_C(1) << 63) /* keys of tasks */

static void put_async(struct cu__perfetto *x, char phase, const struct cu__perfetto_place *p,
                      const char *category, uint64_t id)
{
    cu__json_event(&x->out, phase, p ? cu__perfetto_track_of(x, p) : 0, x->now_ns);
    cu__json_say(&x->out, ",\"cat\":\"%s\",\"id\":\"%s %llu\",\"name\":\"", category, category,
                 (unsigned long long)id);
}

static void on_task(struct cu__perfetto *x, const struct cu__perfetto_thread *m,
                    const struct cu__trace_event *e)
{
    uint64_t key = e->args[0] | TASK_BIT;
    bool begins = e->type == COPPER_WIRE_TASK_BEGIN;
    struct cu__trace_item *task = begins ? cu__perfetto_get(x, key) : cu__perfetto_find(x, key);
    if (!task) {
        return; /* it began before the trace */
    }
    struct cu__span name = cu__trace_read_string(&x->in, e->args[2]);
    if (begins) {
        task->name = cu__perfetto_intern(x, name.bytes, name.n);
    }
    put_async(x, begins ? 'b' : 'e', cu__perfetto_place_of(x, m), "task", e->args[0]);
    cu__perfetto_put_text(x, task->name);
    cu__json_say(&x->out, "\",\"args\":{\"coroutine\":%llu", (unsigned long long)m->g);
    if (begins) {
        cu__json_say(&x->out, ",\"parent\":%llu}}", (unsigned long long)e->args[1]);
    } else {
        cu__json_say(&x->out, "}}");
        cu__trace_item_forget(&x->items, task);
    }
}

static void on_region(struct cu__perfetto *x, const struct cu__perfetto_thread *m,
                      const struct cu__trace_event *e)
{
    struct cu__trace_item *g = cu__perfetto_find(x, m->g);
    bool begins = e->type == COPPER_WIRE_REGION_BEGIN;
    if (!g || (!begins && g->regions == 0)) {
        return; /* it began before the trace */
    }
    g->regions += begins ? 1 : -1u;
    struct cu__span name = cu__trace_read_string(&x->in, e->args[1]);
    put_async(x, begins ? 'b' : 'e', cu__perfetto_place_of(x, m), "coroutine", m->g);
    cu__json_text(&x->out, name.bytes, name.n);
    cu__json_say(&x->out, "\",\"args\":{\"task\":%llu}}", (unsigned long long)e->args[0]);
}

static void on_log(struct cu__perfetto *x, const struct cu__perfetto_thread *m,
                   const struct cu__trace_event *e)
{
    const struct cu__perfetto_place *p = cu__perfetto_place_of(x, m);
    struct cu__span key = cu__trace_read_string(&x->in, e->args[1]),
                    value = cu__trace_read_string(&x->in, e->args[2]);
    cu__json_event(&x->out, 'i', p ? cu__perfetto_track_of(x, p) : 0, x->now_ns);
    cu__json_say(&x->out, ",\"s\":\"t\",\"name\":\"");
    cu__json_text(&x->out, key.bytes, key.n);
    cu__json_say(&x->out, "%s", key.n ? ": " : "");
    cu__json_text(&x->out, value.bytes, value.n);
    cu__json_say(&x->out, "\",\"args\":{\"coroutine\":%llu,\"task\":%llu}}",
                 (unsigned long long)m->g, (unsigned long long)e->args[0]);
}

static void on_heap(struct cu__perfetto *x, uint64_t bytes)
{
    cu__json_event(&x->out, 'C', 0, x->now_ns);
    cu__json_say(&x->out, ",\"name\":\"heap\",\"args\":{\"bytes\":%llu}}",
                 (unsigned long long)bytes);
}

static void on_procs(struct cu__perfetto *x, uint64_t procs)
{
    cu__json_event(&x->out, 'C', 0, x->now_ns);
    cu__json_say(&x->out, ",\"name\":\"procs\",\"args\":{\"P\":%llu}}", (unsigned long long)procs);
}

static void on_label(struct cu__perfetto *x, const struct cu__perfetto_thread *m, uint64_t label)
{
    struct cu__trace_item *g = cu__perfetto_find(x, m->g);
    struct cu__span text = cu__trace_read_string(&x->in, label);
    if (g) {
        g->labels = cu__perfetto_intern(x, text.bytes, text.n);
    }
}

void cu__perfetto_note(struct cu__perfetto *x, const struct cu__perfetto_thread *m,
                       const struct cu__trace_event *e)
{
    switch (e->type) {
    case COPPER_WIRE_GO_LABEL:
        on_label(x, m, e->args[0]);
        break;
    case COPPER_WIRE_TASK_BEGIN:
    case COPPER_WIRE_TASK_END:
        on_task(x, m, e);
        break;
    case COPPER_WIRE_REGION_BEGIN:
    case COPPER_WIRE_REGION_END:
        on_region(x, m, e);
        break;
    case COPPER_WIRE_LOG:
        on_log(x, m, e);
        break;
    case COPPER_WIRE_PROCS_CHANGE:
        on_procs(x, e->args[0]);
        break;
    case COPPER_WIRE_HEAP_ALLOC:
        on_heap(x, e->args[0]);
        break;
    default:
        break;
    }
}
