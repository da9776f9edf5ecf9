/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see trace_perfetto_int.h: slices, the flows between them, counters.
 */
#include "trace_perfetto_int.h"

#define COUNTER_STEP_NS 100000

void cu__perfetto_name_track(struct cu__perfetto *x, struct cu__perfetto_place *p)
{
    if (p->is_named) {
        return;
    }
    uint64_t number = (uint64_t)(p - x->places), track = cu__perfetto_track_of(x, p);
    bool is_spare = number == COPPER_TRACE_SPARE_P;
    p->is_named = true;
    cu__json_event(&x->out, 'M', track, x->now_ns);
    cu__json_say(&x->out, ",\"name\":\"thread_name\",\"args\":{\"name\":\"%s %llu\"}}",
                 is_spare ? "without P" : "P", (unsigned long long)number);
    cu__json_event(&x->out, 'M', track, x->now_ns);
    cu__json_say(&x->out, ",\"name\":\"thread_sort_index\",\"args\":{\"sort_index\":%llu}}",
                 (unsigned long long)track);
}

/* The numbers as they were after the event before, when some time has passed. */
void cu__perfetto_count(struct cu__perfetto *x, int64_t next_ns)
{
    if (!x->is_count_due || next_ns - x->counted_ns < COUNTER_STEP_NS) {
        return;
    }
    x->is_count_due = false;
    x->counted_ns = x->now_ns;
    cu__json_event(&x->out, 'C', 0, x->now_ns);
    cu__json_say(
        &x->out,
        ",\"name\":\"coroutines\",\"args\":{\"running\":%u,\"runnable\":%u,\"in calls\":%u,"
        "\"waiting\":%u}}",
        x->counts[COPPER_WIRE_G_RUNNING], x->counts[COPPER_WIRE_G_RUNNABLE],
        x->counts[COPPER_WIRE_G_SYSCALL], x->counts[COPPER_WIRE_G_WAITING]);
}

void cu__perfetto_begin_slice(struct cu__perfetto *x, struct cu__perfetto_place *p,
                              struct cu__trace_item *g)
{
    p->is_open = true;
    p->g = g->key;
    p->began_ns = x->now_ns;
    p->ready_ns = g->state == COPPER_WIRE_G_RUNNABLE ? g->ready_ns : 0;
    p->call_ns = COPPER_PERFETTO_NO_CALL;
    p->is_from_before = false;
    if (g->flow) {
        cu__json_event(&x->out, 'f', cu__perfetto_track_of(x, p), x->now_ns);
        cu__json_say(&x->out, ",\"bp\":\"e\",\"cat\":\"flow\",\"name\":\"%s\",\"id\":%llu}",
                     g->is_spawn ? "spawns" : "wakes", (unsigned long long)g->flow);
        g->flow = 0;
    }
}

static void put_stack(struct cu__perfetto *x, uint32_t stack)
{
    if (stack != COPPER_INTERN_NONE) {
        cu__json_say(&x->out, ",\"stack\":\"");
        cu__perfetto_put_text(x, stack);
        cu__json_say(&x->out, "\"");
    }
}

void cu__perfetto_end_call(struct cu__perfetto *x, struct cu__perfetto_place *p)
{
    if (p->call_ns == COPPER_PERFETTO_NO_CALL) {
        return;
    }
    cu__json_event(&x->out, 'X', cu__perfetto_track_of(x, p), p->call_ns);
    cu__json_duration(&x->out, "dur", x->now_ns - p->call_ns);
    cu__json_say(&x->out, ",\"name\":\"call\",\"args\":{\"coroutine\":%llu",
                 (unsigned long long)p->g);
    put_stack(x, p->call_stack);
    cu__json_say(&x->out, "}}");
    p->call_ns = COPPER_PERFETTO_NO_CALL;
}

/* end: why it stops, a plain text of ours or of the recorder. */
void cu__perfetto_end_slice(struct cu__perfetto *x, struct cu__perfetto_place *p,
                            struct cu__span end, uint32_t stack)
{
    if (!p || !p->is_open) {
        return;
    }
    cu__perfetto_end_call(x, p);
    const struct cu__trace_item *g = cu__perfetto_find(x, p->g);
    cu__json_event(&x->out, 'X', cu__perfetto_track_of(x, p), p->began_ns);
    cu__json_duration(&x->out, "dur", x->now_ns - p->began_ns);
    cu__json_say(&x->out, ",\"name\":\"G%llu ", (unsigned long long)p->g);
    cu__perfetto_put_text(x, g ? g->name : COPPER_INTERN_NONE);
    cu__json_say(&x->out, "\",\"args\":{\"coroutine\":%llu,\"end\":\"", (unsigned long long)p->g);
    cu__json_text(&x->out, end.bytes, end.n);
    cu__json_say(&x->out, "\"");
    if (p->is_from_before) {
        cu__json_say(&x->out, ",\"begin\":\"before the trace\"");
    }
    if (p->ready_ns) {
        cu__json_duration(&x->out, "waited for P us", p->began_ns - p->ready_ns);
    }
    if (g && g->labels != COPPER_INTERN_NONE) {
        cu__json_say(&x->out, ",\"labels\":\"");
        cu__perfetto_put_text(x, g->labels);
        cu__json_say(&x->out, "\"");
    }
    put_stack(x, stack);
    cu__json_say(&x->out, "}}");
    p->is_open = false;
}

/* An arrow from what runs on m to where g will start. */
void cu__perfetto_begin_flow(struct cu__perfetto *x, const struct cu__perfetto_thread *m,
                             struct cu__trace_item *g, bool is_spawn)
{
    const struct cu__perfetto_place *p = cu__perfetto_place_of(x, m);
    if (!p || !p->is_open) {
        return;
    }
    g->flow = ++x->last_flow;
    g->is_spawn = is_spawn;
    cu__json_event(&x->out, 's', cu__perfetto_track_of(x, p), x->now_ns);
    cu__json_say(&x->out, ",\"cat\":\"flow\",\"name\":\"%s\",\"id\":%llu}",
                 is_spawn ? "spawns" : "wakes", (unsigned long long)g->flow);
}
