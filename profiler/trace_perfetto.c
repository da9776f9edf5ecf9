/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see trace_perfetto.h: what the events of trace_read.h mean, told through trace_json.h.
 * From top to bottom: what is kept; what is known of stacks; slices and flows; the events.
 */
#include "trace_perfetto.h"

#include "trace_items.h"
#include "trace_json.h"
#include "trace_model.h"
#include "trace_read.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLACES          (COPPER_TRACE_SPARE_P + 1) /* P */
#define STACK_SHOWN     12u                        /* frames of a stack in the text */
#define COUNTER_STEP_NS 100000
#define FIRST_P_TRACK   1u /* the track number of P 0 */
#define NO_CALL         INT64_MIN

/* The format's numbers. */
enum state { STATE_NONE, STATE_RUNNABLE, STATE_RUNNING, STATE_CALL, STATE_WAITING, STATE_COUNT };
enum { P_RUNNING = 1, P_IDLE = 2, P_CALL = 3 };

#define TASK_BIT (UINT64_C(1) << 63) /* keys of tasks */

struct place {
    bool is_named, is_open;
    bool is_from_before; /* it ran when the trace began */
    uint64_t g;
    int64_t began_ns, ready_ns;
    int64_t call_ns;     /* when the call began that g is in; NO_CALL: in none */
    uint32_t call_stack; /* interned text */
};

struct thread {
    uint64_t p; /* number + 1; 0: none */
    uint64_t g;
};

struct cu__perfetto {
    struct cu__json out;
    struct cu__trace_reader in;
    int64_t now_ns, counted_ns;
    uint64_t last_flow;
    uint32_t counts[STATE_COUNT];
    bool is_count_due;
    struct cu__trace_items items;
    struct cu__interner texts, thread_ids;
    struct place places[PLACES];
    struct thread *threads; /* by number of thread_ids */
    uint32_t threads_cap;
};

/* ---- what is kept ---------------------------------------------------------------------------- */

static void fail(struct cu__perfetto *x, int err)
{
    cu__json_fail(&x->out, err);
}

static struct cu__trace_item *find(const struct cu__perfetto *x, uint64_t key)
{
    return cu__trace_item_find(&x->items, key);
}

/* NULL: the failure is noted. */
static struct cu__trace_item *get(struct cu__perfetto *x, uint64_t key)
{
    struct cu__trace_item *item = key ? cu__trace_item_get(&x->items, key) : NULL;
    if (!item) {
        fail(x, key ? -ENOMEM : -EBADMSG);
    }
    return item;
}

static bool make_room(struct cu__perfetto *x, uint32_t number)
{
    if (number < x->threads_cap) {
        return true;
    }
    uint32_t cap = x->threads_cap ? x->threads_cap * 2 : 256; /* numbers come one by one */
    struct thread *threads = realloc(x->threads, cap * sizeof(*threads));
    if (!threads) {
        return false;
    }
    memset(threads + x->threads_cap, 0, (cap - x->threads_cap) * sizeof(*threads));
    x->threads = threads;
    x->threads_cap = cap;
    return true;
}

/* NULL: the failure is noted. */
static struct thread *thread_of(struct cu__perfetto *x, uint64_t tid)
{
    uint32_t number = cu__intern(&x->thread_ids, &tid, sizeof(tid));
    if (number == COPPER_INTERN_NONE || !make_room(x, number)) {
        fail(x, -ENOMEM);
        return NULL;
    }
    return &x->threads[number];
}

static uint64_t track_of(const struct cu__perfetto *x, const struct place *p)
{
    return (uint64_t)(p - x->places) + FIRST_P_TRACK;
}

/* ---- what is known of stacks ----------------------------------------------------------------- */

static void put_interned(struct cu__perfetto *x, uint32_t number)
{
    size_t n = 0;
    const void *bytes = cu__interned(&x->texts, number, &n);
    if (bytes) {
        cu__json_text(&x->out, bytes, n);
    }
}

static uint32_t intern(struct cu__perfetto *x, const void *bytes, size_t n)
{
    uint32_t number = n ? cu__intern(&x->texts, bytes, n) : COPPER_INTERN_NONE;
    if (x->texts.is_failed) {
        fail(x, -ENOMEM);
    }
    return number;
}

/* The functions of a stack, leaf first, as one text; *root: the last one. */
static uint32_t read_functions(struct cu__perfetto *x, uint64_t id, struct cu__span *root)
{
    struct cu__span functions[COPPER_WIRE_FRAMES_MAX];
    char all[1024];
    size_t n = 0;
    unsigned count = cu__trace_read_stack(&x->in, id, functions);
    fail(x, x->in.err);
    *root = count ? functions[count - 1] : (struct cu__span){NULL, 0};
    for (unsigned i = 0; i < count && i < STACK_SHOWN; i++) {
        if (n + functions[i].n + 4 < sizeof(all)) {
            n += (size_t)snprintf(all + n, sizeof(all) - n, "%s%.*s", i ? " < " : "",
                                  (int)functions[i].n, (const char *)functions[i].bytes);
        }
    }
    return intern(x, all, n);
}

/* Calls a coroutine by the outermost function of its first stack. Returns the stack as a text. */
static uint32_t learn(struct cu__perfetto *x, uint64_t key, uint64_t stack)
{
    struct cu__span root;
    uint32_t all = read_functions(x, stack, &root);
    struct cu__trace_item *g = find(x, key);
    if (g && root.n && (g->name == COPPER_INTERN_NONE || g->is_placeholder)) {
        static const char placeholder[] = "spawned by ";
        g->is_placeholder = root.n > sizeof(placeholder) - 1 &&
                            memcmp(root.bytes, placeholder, sizeof(placeholder) - 1) == 0;
        g->name = intern(x, root.bytes, root.n);
    }
    return all;
}

/* ---- slices, flows, counters ----------------------------------------------------------------- */

static void name_track(struct cu__perfetto *x, struct place *p)
{
    if (p->is_named) {
        return;
    }
    uint64_t track = track_of(x, p);
    bool is_spare = track - FIRST_P_TRACK == COPPER_TRACE_SPARE_P;
    p->is_named = true;
    cu__json_event(&x->out, 'M', track, x->now_ns);
    cu__json_say(&x->out, ",\"name\":\"thread_name\",\"args\":{\"name\":\"%s %llu\"}}",
                 is_spare ? "without P" : "P", (unsigned long long)(track - FIRST_P_TRACK));
    cu__json_event(&x->out, 'M', track, x->now_ns);
    cu__json_say(&x->out, ",\"name\":\"thread_sort_index\",\"args\":{\"sort_index\":%llu}}",
                 (unsigned long long)track);
}

/* The P of a thread; NULL: none. */
static struct place *place_of(struct cu__perfetto *x, const struct thread *m)
{
    return m->p && m->p <= PLACES ? &x->places[m->p - 1] : NULL;
}

static void set_state(struct cu__perfetto *x, struct cu__trace_item *g, enum state state)
{
    x->counts[g->state]--;
    x->counts[state]++;
    g->state = (uint8_t)state;
    if (state == STATE_RUNNABLE) {
        g->ready_ns = x->now_ns;
    }
    x->is_count_due = true;
}

/* The numbers as they were after the event before, when some time has passed. */
static void count(struct cu__perfetto *x, int64_t next_ns)
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
        x->counts[STATE_RUNNING], x->counts[STATE_RUNNABLE], x->counts[STATE_CALL],
        x->counts[STATE_WAITING]);
}

static void begin_slice(struct cu__perfetto *x, struct place *p, struct cu__trace_item *g)
{
    p->is_open = true;
    p->g = g->key;
    p->began_ns = x->now_ns;
    p->ready_ns = g->state == STATE_RUNNABLE ? g->ready_ns : 0;
    p->call_ns = NO_CALL;
    p->is_from_before = false;
    if (g->flow) {
        cu__json_event(&x->out, 'f', track_of(x, p), x->now_ns);
        cu__json_say(&x->out, ",\"bp\":\"e\",\"cat\":\"flow\",\"name\":\"%s\",\"id\":%llu}",
                     g->is_spawn ? "spawns" : "wakes", (unsigned long long)g->flow);
        g->flow = 0;
    }
}

static void put_stack(struct cu__perfetto *x, uint32_t stack)
{
    if (stack != COPPER_INTERN_NONE) {
        cu__json_say(&x->out, ",\"stack\":\"");
        put_interned(x, stack);
        cu__json_say(&x->out, "\"");
    }
}

static void end_call_slice(struct cu__perfetto *x, struct place *p)
{
    if (p->call_ns == NO_CALL) {
        return;
    }
    cu__json_event(&x->out, 'X', track_of(x, p), p->call_ns);
    cu__json_duration(&x->out, "dur", x->now_ns - p->call_ns);
    cu__json_say(&x->out, ",\"name\":\"call\",\"args\":{\"coroutine\":%llu",
                 (unsigned long long)p->g);
    put_stack(x, p->call_stack);
    cu__json_say(&x->out, "}}");
    p->call_ns = NO_CALL;
}

/* end: why it stops, a plain text of ours or of the recorder. */
static void end_slice(struct cu__perfetto *x, struct place *p, struct cu__span end, uint32_t stack)
{
    if (!p || !p->is_open) {
        return;
    }
    end_call_slice(x, p);
    const struct cu__trace_item *g = find(x, p->g);
    cu__json_event(&x->out, 'X', track_of(x, p), p->began_ns);
    cu__json_duration(&x->out, "dur", x->now_ns - p->began_ns);
    cu__json_say(&x->out, ",\"name\":\"G%llu ", (unsigned long long)p->g);
    put_interned(x, g ? g->name : COPPER_INTERN_NONE);
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
        put_interned(x, g->labels);
        cu__json_say(&x->out, "\"");
    }
    put_stack(x, stack);
    cu__json_say(&x->out, "}}");
    p->is_open = false;
}

static struct cu__span word(const char *text)
{
    return (struct cu__span){(const unsigned char *)text, strlen(text)};
}

/* An arrow from what runs on m to where g will start. */
static void begin_flow(struct cu__perfetto *x, const struct thread *m, struct cu__trace_item *g,
                       bool is_spawn)
{
    const struct place *p = place_of(x, m);
    if (!p || !p->is_open) {
        return;
    }
    g->flow = ++x->last_flow;
    g->is_spawn = is_spawn;
    cu__json_event(&x->out, 's', track_of(x, p), x->now_ns);
    cu__json_say(&x->out, ",\"cat\":\"flow\",\"name\":\"%s\",\"id\":%llu}",
                 is_spawn ? "spawns" : "wakes", (unsigned long long)g->flow);
}

/* ---- events ---------------------------------------------------------------------------------- */

static void on_proc_status(struct cu__perfetto *x, struct thread *m, const uint64_t *args)
{
    if (args[0] >= PLACES) {
        return;
    }
    name_track(x, &x->places[args[0]]);
    if (args[1] != P_IDLE) {
        m->p = args[0] + 1;
    }
}

static void on_status(struct cu__perfetto *x, const uint64_t *args)
{
    bool is_known = find(x, args[0]) != NULL;
    struct cu__trace_item *g = get(x, args[0]);
    if (!g || is_known || args[2] >= STATE_COUNT) {
        return;
    }
    set_state(x, g, (enum state)args[2]);
    if (g->state != STATE_RUNNING && g->state != STATE_CALL) {
        return;
    }
    struct thread *m = thread_of(x, args[1]);
    struct place *p = m ? place_of(x, m) : NULL;
    if (m) {
        m->g = args[0];
    }
    if (p) {
        begin_slice(x, p, g);
        p->is_from_before = true;
        p->call_ns = g->state == STATE_CALL ? x->now_ns : NO_CALL;
        p->call_stack = COPPER_INTERN_NONE;
    }
}

static void on_start(struct cu__perfetto *x, struct thread *m, uint64_t id)
{
    struct cu__trace_item *g = get(x, id);
    struct place *p = place_of(x, m);
    m->g = id;
    if (g && p) {
        begin_slice(x, p, g);
        set_state(x, g, STATE_RUNNING);
    }
}

/* The coroutine that runs on m stops to. */
static void on_stop(struct cu__perfetto *x, struct thread *m, enum state state, struct cu__span why,
                    uint64_t stack)
{
    uint32_t all = learn(x, m->g, stack);
    struct cu__trace_item *g = find(x, m->g);
    end_slice(x, place_of(x, m), why, all);
    m->g = 0;
    if (g && state == STATE_NONE) {
        x->counts[g->state]--;
        x->is_count_due = true;
        cu__trace_item_forget(&x->items, g);
    } else if (g) {
        set_state(x, g, state);
    }
}

static void on_call_begin(struct cu__perfetto *x, struct thread *m, uint64_t stack)
{
    uint32_t all = learn(x, m->g, stack);
    struct place *p = place_of(x, m);
    struct cu__trace_item *g = find(x, m->g);
    if (p && p->is_open) {
        p->call_ns = x->now_ns;
        p->call_stack = all;
    }
    if (g) {
        set_state(x, g, STATE_CALL);
    }
}

static void on_call_end(struct cu__perfetto *x, struct thread *m, bool has_p)
{
    struct cu__trace_item *g = find(x, m->g);
    struct place *p = place_of(x, m);
    if (p && has_p) {
        end_call_slice(x, p);
    }
    if (g) {
        set_state(x, g, has_p ? STATE_RUNNING : STATE_RUNNABLE);
    }
    m->g = has_p ? m->g : 0;
}

/* Its P leaves m. */
static void on_p_gone(struct cu__perfetto *x, struct thread *m, const char *why)
{
    end_slice(x, place_of(x, m), word(why), COPPER_INTERN_NONE);
    m->p = 0;
}

static void on_created(struct cu__perfetto *x, const struct thread *m, const uint64_t *args)
{
    struct cu__trace_item *g = get(x, args[0]);
    if (g) {
        set_state(x, g, STATE_RUNNABLE);
        begin_flow(x, m, g, true);
        learn(x, args[0], args[1]);
        learn(x, m->g, args[2]);
    }
}

static void on_unblock(struct cu__perfetto *x, const struct thread *m, const uint64_t *args)
{
    struct cu__trace_item *g = get(x, args[0]);
    if (g) {
        set_state(x, g, STATE_RUNNABLE);
        begin_flow(x, m, g, false);
        learn(x, m->g, args[2]);
    }
}

/* ---- tasks, regions, logs, heap -------------------------------------------------------------- */

static void put_async(struct cu__perfetto *x, char phase, const struct place *p,
                      const char *category, uint64_t id)
{
    cu__json_event(&x->out, phase, p ? track_of(x, p) : 0, x->now_ns);
    cu__json_say(&x->out, ",\"cat\":\"%s\",\"id\":\"%s %llu\",\"name\":\"", category, category,
                 (unsigned long long)id);
}

static void on_task(struct cu__perfetto *x, const struct thread *m, const struct cu__trace_event *e)
{
    uint64_t key = e->args[0] | TASK_BIT;
    bool begins = e->type == COPPER_WIRE_TASK_BEGIN;
    struct cu__trace_item *task = begins ? get(x, key) : find(x, key);
    if (!task) {
        return; /* it began before the trace */
    }
    struct cu__span name = cu__trace_read_string(&x->in, e->args[2]);
    if (begins) {
        task->name = intern(x, name.bytes, name.n);
    }
    put_async(x, begins ? 'b' : 'e', place_of(x, m), "task", e->args[0]);
    put_interned(x, task->name);
    cu__json_say(&x->out, "\",\"args\":{\"coroutine\":%llu", (unsigned long long)m->g);
    if (begins) {
        cu__json_say(&x->out, ",\"parent\":%llu}}", (unsigned long long)e->args[1]);
    } else {
        cu__json_say(&x->out, "}}");
        cu__trace_item_forget(&x->items, task);
    }
}

static void on_region(struct cu__perfetto *x, const struct thread *m,
                      const struct cu__trace_event *e)
{
    struct cu__trace_item *g = find(x, m->g);
    bool begins = e->type == COPPER_WIRE_REGION_BEGIN;
    if (!g || (!begins && g->regions == 0)) {
        return; /* it began before the trace */
    }
    g->regions += begins ? 1 : -1u;
    struct cu__span name = cu__trace_read_string(&x->in, e->args[1]);
    put_async(x, begins ? 'b' : 'e', place_of(x, m), "coroutine", m->g);
    cu__json_text(&x->out, name.bytes, name.n);
    cu__json_say(&x->out, "\",\"args\":{\"task\":%llu}}", (unsigned long long)e->args[0]);
}

static void on_log(struct cu__perfetto *x, const struct thread *m, const struct cu__trace_event *e)
{
    const struct place *p = place_of(x, m);
    struct cu__span key = cu__trace_read_string(&x->in, e->args[1]),
                    value = cu__trace_read_string(&x->in, e->args[2]);
    cu__json_event(&x->out, 'i', p ? track_of(x, p) : 0, x->now_ns);
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

static void on_label(struct cu__perfetto *x, const struct thread *m, uint64_t label)
{
    struct cu__trace_item *g = find(x, m->g);
    struct cu__span text = cu__trace_read_string(&x->in, label);
    if (g) {
        g->labels = intern(x, text.bytes, text.n);
    }
}

static void on_event(struct cu__perfetto *x, const struct cu__trace_event *e)
{
    struct thread *m = thread_of(x, e->thread), *from;
    if (!m) {
        return;
    }
    switch (e->type) {
    case COPPER_WIRE_PROC_STATUS:
        on_proc_status(x, m, e->args);
        break;
    case COPPER_WIRE_PROC_START:
        m->p = e->args[0] < PLACES ? e->args[0] + 1 : 0;
        break;
    case COPPER_WIRE_PROC_STOP:
        on_p_gone(x, m, "P given up");
        break;
    case COPPER_WIRE_PROC_STEAL:
        from = thread_of(x, e->args[2]);
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
        on_stop(x, m, STATE_RUNNABLE, cu__trace_read_string(&x->in, e->args[0]), e->args[1]);
        break;
    case COPPER_WIRE_GO_BLOCK:
        on_stop(x, m, STATE_WAITING, cu__trace_read_string(&x->in, e->args[0]), e->args[1]);
        break;
    case COPPER_WIRE_GO_DESTROY:
        on_stop(x, m, STATE_NONE, word("exit"), 0);
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
    fail(x, cu__trace_read_begin(&x->in, bytes, n));
    while (!x->out.err && cu__trace_read_next(&x->in, &event)) {
        count(x, event.now_ns);
        x->now_ns = event.now_ns;
        on_event(x, &event);
        fail(x, x->in.err);
    }
    return x->out.err;
}

int cu__perfetto_end(struct cu__perfetto *x)
{
    for (uint32_t i = 0; i < PLACES; i++) {
        end_slice(x, &x->places[i], word("end of the trace"), COPPER_INTERN_NONE);
    }
    count(x, INT64_MAX);
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
