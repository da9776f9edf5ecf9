/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see trace_perfetto.h. From top to bottom: text; tables; reading a generation; slices and
 * flows; the events.
 */
#include "trace_perfetto.h"

#include "trace_model.h"
#include "trace_wire.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PLACES          (COPPER_TRACE_SPARE_P + 1) /* P */
#define STACK_SHOWN     12u   /* frames of a stack in the text */
#define COUNTER_STEP_NS 100000
#define FIRST_P_TRACK   1u /* the track number of P 0 */
#define NO_CALL         INT64_MIN

/* The format's numbers. */
enum state { STATE_NONE, STATE_RUNNABLE, STATE_RUNNING, STATE_CALL, STATE_WAITING, STATE_COUNT };
enum { P_RUNNING = 1, P_IDLE = 2, P_CALL = 3 };

/* A live coroutine, or an open task. */
struct item {
    uint64_t key; /* 0: free place in the table */
    int64_t ready_ns;
    uint64_t flow; /* that ends where it starts to run, 0: none */
    uint32_t name, labels; /* interned; NONE: not known */
    uint32_t regions;      /* open ones */
    uint8_t state;
    bool is_spawn;       /* the flow comes from who spawned it */
    bool is_placeholder; /* the name says where it was spawned */
};
#define TASK_BIT (UINT64_C(1) << 63) /* keys of tasks */

struct table {
    struct item *items;
    uint32_t size, count; /* a power of two; at most half full */
};

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

struct reader {
    const unsigned char *at, *end;
};

struct text {
    const unsigned char *bytes;
    size_t n;
};

struct event {
    uint64_t unit; /* time */
    uint8_t type;
    uint64_t args[6];
};

struct batch {
    struct reader rest;
    struct event head;
    uint64_t thread, unit;
};

struct cu__perfetto {
    cu__trace_sink *sink;
    void *arg;
    int err;
    bool has_begun;
    uint64_t last_flow;
    int64_t now_ns, counted_ns;
    uint32_t counts[STATE_COUNT];
    bool is_count_due;
    struct table items;
    struct cu__interner texts, thread_ids;
    struct place places[PLACES];
    struct thread *threads; /* by number of thread_ids */
    uint32_t threads_cap;
    /* of the generation being read */
    struct text *strings, *stacks; /* by id */
    uint32_t nstrings, nstacks, strings_cap, stacks_cap;
    struct batch *batches; /* a heap: the earliest first */
    uint32_t nbatches, batches_cap;
    size_t n;
    char buffer[32768];
};

/* ---- text ------------------------------------------------------------------------------------ */

static void fail(struct cu__perfetto *x, int err)
{
    x->err = x->err ? x->err : err;
}

static void flush(struct cu__perfetto *x)
{
    if (x->n && !x->err) {
        fail(x, x->sink(x->arg, x->buffer, x->n));
    }
    x->n = 0;
}

static void put(struct cu__perfetto *x, const char *bytes, size_t n)
{
    if (x->n + n > sizeof(x->buffer)) {
        flush(x);
    }
    memcpy(x->buffer + x->n, bytes, n); /* n is small */
    x->n += n;
}

__attribute__((format(printf, 2, 3))) static void say(struct cu__perfetto *x, const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    put(x, line, n < (int)sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

/* Bytes of the UTF-8 sequence at s, 0: it is none. */
static size_t sequence_at(const unsigned char *s, size_t left)
{
    size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3
               : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
    if (n == 0 || n > left) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool is_overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    bool is_outside = (s[0] == 0xed && s[1] >= 0xa0) || (s[0] == 0xf4 && s[1] >= 0x90);
    return is_overlong || is_outside ? 0 : n;
}

/* The inside of a JSON string. What is no UTF-8 becomes U+FFFD. */
static void put_text(struct cu__perfetto *x, const void *bytes, size_t n)
{
    const unsigned char *s = bytes;
    for (size_t at = 0, step; at < n; at += step) {
        step = sequence_at(s + at, n - at);
        if (step == 0) {
            step = 1;
            put(x, "\\ufffd", 6);
        } else if (s[at] == '"' || s[at] == '\\') {
            put(x, "\\", 1);
            put(x, (const char *)s + at, 1);
        } else if (s[at] < 0x20 || s[at] == 0x7f) {
            say(x, "\\u%04x", s[at]);
        } else {
            put(x, (const char *)s + at, step);
        }
    }
}

static void put_interned(struct cu__perfetto *x, uint32_t number)
{
    size_t n = 0;
    const void *bytes = cu__interned(&x->texts, number, &n);
    if (bytes) {
        put_text(x, bytes, n);
    }
}

/* {"ph":...,"pid":...,"tid":...,"ts":... of an event; the caller goes on after it. */
static void begin_event(struct cu__perfetto *x, char phase, uint64_t track, int64_t ns)
{
    say(x, "%s{\"ph\":\"%c\",\"pid\":%d,\"tid\":%llu,\"ts\":%lld.%03d", x->has_begun ? ",\n" : "",
        phase, (int)getpid(), (unsigned long long)track, (long long)(ns / 1000), (int)(ns % 1000));
    x->has_begun = true;
}

static void put_duration(struct cu__perfetto *x, const char *name, int64_t ns)
{
    say(x, ",\"%s\":%lld.%03d", name, (long long)(ns / 1000), (int)(ns % 1000));
}

static uint64_t track_of(const struct cu__perfetto *x, const struct place *p)
{
    return (uint64_t)(p - x->places) + FIRST_P_TRACK;
}

/* ---- tables ---------------------------------------------------------------------------------- */

static uint32_t home_of(const struct table *t, uint64_t key)
{
    return (uint32_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (t->size - 1);
}

/* Its place: where it is, or would be. */
static struct item *place_in(const struct table *t, uint64_t key)
{
    uint32_t at = home_of(t, key);
    while (t->items[at].key && t->items[at].key != key) {
        at = (at + 1) & (t->size - 1);
    }
    return &t->items[at];
}

static bool grow_table(struct table *t)
{
    struct table larger = {.size = t->size ? t->size * 2 : 1024, .count = t->count};
    larger.items = calloc(larger.size, sizeof(*larger.items));
    if (!larger.items) {
        return false;
    }
    for (uint32_t i = 0; i < t->size; i++) {
        if (t->items[i].key) {
            *place_in(&larger, t->items[i].key) = t->items[i];
        }
    }
    free(t->items);
    *t = larger;
    return true;
}

/* Known or NULL. */
static struct item *find(const struct cu__perfetto *x, uint64_t key)
{
    struct item *item = x->items.size ? place_in(&x->items, key) : NULL;
    return item && item->key ? item : NULL;
}

/* Known or new; NULL: out of memory. Valid until the next one is added or removed. */
static struct item *get(struct cu__perfetto *x, uint64_t key)
{
    struct table *t = &x->items;
    if (key == 0 || (t->count * 2 >= t->size && !grow_table(t))) {
        fail(x, key ? -ENOMEM : -EBADMSG);
        return NULL;
    }
    struct item *item = place_in(t, key);
    if (item->key == 0) {
        *item = (struct item){.key = key, .name = COPPER_INTERN_NONE, .labels = COPPER_INTERN_NONE};
        t->count++;
    }
    return item;
}

/* Takes it out, and closes the gap. */
static void forget(struct cu__perfetto *x, struct item *item)
{
    struct table *t = &x->items;
    uint32_t mask = t->size - 1, hole = (uint32_t)(item - t->items);
    for (uint32_t at = (hole + 1) & mask; t->items[at].key; at = (at + 1) & mask) {
        uint32_t home = home_of(t, t->items[at].key);
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            t->items[hole] = t->items[at];
            hole = at;
        }
    }
    t->items[hole].key = 0;
    t->count--;
}

/* Room for element number `wanted`; the new ones are zero. */
static bool reach(struct cu__perfetto *x, void *array, uint32_t *cap, uint64_t wanted, size_t size)
{
    if (wanted < *cap) {
        return true;
    }
    if (wanted > UINT32_MAX / 4) {
        fail(x, -EBADMSG);
        return false;
    }
    uint32_t larger = *cap ? *cap * 2 : 256;
    while (larger <= wanted) {
        larger *= 2;
    }
    char *grown = realloc(*(void **)array, larger * size);
    if (!grown) {
        fail(x, -ENOMEM);
        return false;
    }
    memset(grown + *cap * size, 0, (larger - *cap) * size);
    *(void **)array = grown;
    *cap = larger;
    return true;
}

/* NULL: the failure is noted. */
static struct thread *thread_of(struct cu__perfetto *x, uint64_t tid)
{
    uint32_t number = cu__intern(&x->thread_ids, &tid, sizeof(tid));
    if (number == COPPER_INTERN_NONE) {
        fail(x, -ENOMEM);
        return NULL;
    }
    return reach(x, &x->threads, &x->threads_cap, number, sizeof(*x->threads)) ? &x->threads[number]
                                                                              : NULL;
}

/* ---- reading a generation -------------------------------------------------------------------- */

static uint64_t varint(struct cu__perfetto *x, struct reader *r)
{
    uint64_t value = 0;
    for (unsigned shift = 0; r->at < r->end && shift < 70; shift += 7) {
        unsigned char byte = *r->at++;
        value |= (uint64_t)(byte & 0x7f) << (shift < 63 ? shift : 63);
        if (byte < 0x80) {
            return value;
        }
    }
    fail(x, -EBADMSG);
    r->at = r->end;
    return 0;
}

/* Arguments after the time; -1: not an event of ours. */
static int args_of(uint8_t type)
{
    switch (type) {
    case COPPER_WIRE_PROC_STOP:
    case COPPER_WIRE_GO_DESTROY:
    case COPPER_WIRE_GO_SYSCALL_END:
    case COPPER_WIRE_GO_SYSCALL_END_BLOCKED:
        return 0;
    case COPPER_WIRE_GO_LABEL:
    case COPPER_WIRE_HEAP_ALLOC:
        return 1;
    case COPPER_WIRE_PROCS_CHANGE:
    case COPPER_WIRE_PROC_START:
    case COPPER_WIRE_PROC_STATUS:
    case COPPER_WIRE_GO_START:
    case COPPER_WIRE_GO_STOP:
    case COPPER_WIRE_GO_BLOCK:
    case COPPER_WIRE_GO_SYSCALL_BEGIN:
    case COPPER_WIRE_TASK_END:
        return 2;
    case COPPER_WIRE_PROC_STEAL:
    case COPPER_WIRE_GO_CREATE:
    case COPPER_WIRE_GO_UNBLOCK:
    case COPPER_WIRE_GO_STATUS:
    case COPPER_WIRE_REGION_BEGIN:
    case COPPER_WIRE_REGION_END:
        return 3;
    case COPPER_WIRE_TASK_BEGIN:
    case COPPER_WIRE_LOG:
        return 4;
    default:
        return -1;
    }
}

/* The next event of a batch; false: there is none. */
static bool step(struct cu__perfetto *x, struct batch *b)
{
    if (b->rest.at == b->rest.end || x->err) {
        return false;
    }
    int nargs = args_of(*b->rest.at);
    b->head.type = *b->rest.at++;
    b->unit += varint(x, &b->rest);
    b->head.unit = b->unit;
    for (int i = 0; i < nargs; i++) {
        b->head.args[i] = varint(x, &b->rest);
    }
    if (nargs < 0) {
        fail(x, -EBADMSG);
    }
    return !x->err;
}

static void read_string(struct cu__perfetto *x, struct reader *r)
{
    uint64_t id = varint(x, r), n = varint(x, r);
    if (n > (uint64_t)(r->end - r->at)) {
        fail(x, -EBADMSG);
    }
    if (!x->err && reach(x, &x->strings, &x->strings_cap, id, sizeof(*x->strings))) {
        x->strings[id] = (struct text){r->at, (size_t)n};
        x->nstrings = id >= x->nstrings ? (uint32_t)id + 1 : x->nstrings;
        r->at += n;
    }
}

/* Remembers where its frames are. */
static void read_stack(struct cu__perfetto *x, struct reader *r)
{
    uint64_t id = varint(x, r);
    const unsigned char *from = r->at;
    for (uint64_t words = varint(x, r) * 4; words > 0 && !x->err; words--) {
        varint(x, r);
    }
    if (!x->err && reach(x, &x->stacks, &x->stacks_cap, id, sizeof(*x->stacks))) {
        x->stacks[id] = (struct text){from, (size_t)(r->at - from)};
        x->nstacks = id >= x->nstacks ? (uint32_t)id + 1 : x->nstacks;
    }
}

static void read_table(struct cu__perfetto *x, struct reader r)
{
    uint8_t entry = *r.at == COPPER_WIRE_STRINGS ? COPPER_WIRE_STRING : COPPER_WIRE_STACK;
    for (r.at++; r.at < r.end && !x->err;) {
        if (*r.at++ != entry) {
            fail(x, -EBADMSG);
        } else if (entry == COPPER_WIRE_STRING) {
            read_string(x, &r);
        } else {
            read_stack(x, &r);
        }
    }
}

static void read_batch(struct cu__perfetto *x, struct reader *r)
{
    if (*r->at++ != COPPER_WIRE_BATCH) {
        fail(x, -EBADMSG);
        return;
    }
    varint(x, r); /* generation */
    struct batch b = {.thread = varint(x, r)};
    b.unit = varint(x, r);
    uint64_t n = varint(x, r);
    if (x->err || n > (uint64_t)(r->end - r->at)) {
        fail(x, -EBADMSG);
        return;
    }
    b.rest = (struct reader){r->at, r->at + n};
    r->at += n;
    if (n == 0 || *b.rest.at == COPPER_WIRE_FREQ || *b.rest.at == COPPER_WIRE_CPU_SAMPLES) {
        return;
    }
    if (*b.rest.at == COPPER_WIRE_STRINGS || *b.rest.at == COPPER_WIRE_STACKS) {
        read_table(x, b.rest);
    } else if (reach(x, &x->batches, &x->batches_cap, x->nbatches, sizeof(*x->batches)) &&
               step(x, &b)) {
        x->batches[x->nbatches++] = b;
    }
}

/* Those of one thread follow each other in memory as they do in time. */
static bool is_before(const struct batch *a, const struct batch *b)
{
    return a->head.unit != b->head.unit ? a->head.unit < b->head.unit : a->rest.at < b->rest.at;
}

static void sift_down(struct cu__perfetto *x, uint32_t at)
{
    struct batch moved = x->batches[at];
    for (uint32_t child; (child = 2 * at + 1) < x->nbatches; at = child) {
        if (child + 1 < x->nbatches && is_before(&x->batches[child + 1], &x->batches[child])) {
            child++;
        }
        if (!is_before(&x->batches[child], &moved)) {
            break;
        }
        x->batches[at] = x->batches[child];
    }
    x->batches[at] = moved;
}

/* ---- what is known of stacks ----------------------------------------------------------------- */

static struct text string(const struct cu__perfetto *x, uint64_t id)
{
    return id && id < x->nstrings ? x->strings[id] : (struct text){NULL, 0};
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
static uint32_t read_functions(struct cu__perfetto *x, uint64_t id, struct text *root)
{
    char all[1024];
    size_t n = 0;
    *root = (struct text){NULL, 0};
    if (id == 0 || id >= x->nstacks || !x->stacks[id].bytes) {
        return COPPER_INTERN_NONE;
    }
    struct reader r = {x->stacks[id].bytes, x->stacks[id].bytes + x->stacks[id].n};
    uint64_t nframes = varint(x, &r);
    for (uint64_t i = 0; i < nframes && !x->err; i++) {
        varint(x, &r);
        struct text function = string(x, varint(x, &r));
        varint(x, &r);
        varint(x, &r);
        *root = function;
        if (i < STACK_SHOWN && n + function.n + 4 < sizeof(all)) {
            n += (size_t)snprintf(all + n, sizeof(all) - n, "%s%.*s", i ? " < " : "",
                                  (int)function.n, (const char *)function.bytes);
        }
    }
    return intern(x, all, n);
}

/* Calls a coroutine by the outermost function of its first stack. Returns the stack as a text. */
static uint32_t learn(struct cu__perfetto *x, uint64_t key, uint64_t stack)
{
    struct text root;
    uint32_t all = read_functions(x, stack, &root);
    struct item *g = find(x, key);
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
    begin_event(x, 'M', track, x->now_ns);
    say(x, ",\"name\":\"thread_name\",\"args\":{\"name\":\"%s %llu\"}}", is_spare ? "without P" : "P",
        (unsigned long long)(track - FIRST_P_TRACK));
    begin_event(x, 'M', track, x->now_ns);
    say(x, ",\"name\":\"thread_sort_index\",\"args\":{\"sort_index\":%llu}}", (unsigned long long)track);
}

/* The P of a thread; NULL: none. */
static struct place *place_of(struct cu__perfetto *x, const struct thread *m)
{
    return m->p && m->p <= PLACES ? &x->places[m->p - 1] : NULL;
}

static void set_state(struct cu__perfetto *x, struct item *g, enum state state)
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
    begin_event(x, 'C', 0, x->now_ns);
    say(x,
        ",\"name\":\"coroutines\",\"args\":{\"running\":%u,\"runnable\":%u,\"in calls\":%u,"
        "\"waiting\":%u}}",
        x->counts[STATE_RUNNING], x->counts[STATE_RUNNABLE], x->counts[STATE_CALL],
        x->counts[STATE_WAITING]);
}

static void begin_slice(struct cu__perfetto *x, struct place *p, struct item *g)
{
    p->is_open = true;
    p->g = g->key;
    p->began_ns = x->now_ns;
    p->ready_ns = g->state == STATE_RUNNABLE ? g->ready_ns : 0;
    p->call_ns = NO_CALL;
    p->is_from_before = false;
    if (g->flow) {
        begin_event(x, 'f', track_of(x, p), x->now_ns);
        say(x, ",\"bp\":\"e\",\"cat\":\"flow\",\"name\":\"%s\",\"id\":%llu}",
            g->is_spawn ? "spawns" : "wakes", (unsigned long long)g->flow);
        g->flow = 0;
    }
}

static void put_stack(struct cu__perfetto *x, uint32_t stack)
{
    if (stack != COPPER_INTERN_NONE) {
        say(x, ",\"stack\":\"");
        put_interned(x, stack);
        say(x, "\"");
    }
}

static void end_call_slice(struct cu__perfetto *x, struct place *p)
{
    if (p->call_ns == NO_CALL) {
        return;
    }
    begin_event(x, 'X', track_of(x, p), p->call_ns);
    put_duration(x, "dur", x->now_ns - p->call_ns);
    say(x, ",\"name\":\"call\",\"args\":{\"coroutine\":%llu", (unsigned long long)p->g);
    put_stack(x, p->call_stack);
    say(x, "}}");
    p->call_ns = NO_CALL;
}

/* end: why it stops, a plain text of ours or of the recorder. */
static void end_slice(struct cu__perfetto *x, struct place *p, struct text end, uint32_t stack)
{
    if (!p || !p->is_open) {
        return;
    }
    end_call_slice(x, p);
    const struct item *g = find(x, p->g);
    begin_event(x, 'X', track_of(x, p), p->began_ns);
    put_duration(x, "dur", x->now_ns - p->began_ns);
    say(x, ",\"name\":\"G%llu ", (unsigned long long)p->g);
    put_interned(x, g ? g->name : COPPER_INTERN_NONE);
    say(x, "\",\"args\":{\"coroutine\":%llu,\"end\":\"", (unsigned long long)p->g);
    put_text(x, end.bytes, end.n);
    say(x, "\"");
    if (p->is_from_before) {
        say(x, ",\"begin\":\"before the trace\"");
    }
    if (p->ready_ns) {
        put_duration(x, "waited for P us", p->began_ns - p->ready_ns);
    }
    if (g && g->labels != COPPER_INTERN_NONE) {
        say(x, ",\"labels\":\"");
        put_interned(x, g->labels);
        say(x, "\"");
    }
    put_stack(x, stack);
    say(x, "}}");
    p->is_open = false;
}

static struct text word(const char *text)
{
    return (struct text){(const unsigned char *)text, strlen(text)};
}

/* An arrow from what runs on m to where g will start. */
static void begin_flow(struct cu__perfetto *x, const struct thread *m, struct item *g, bool is_spawn)
{
    const struct place *p = place_of(x, m);
    if (!p || !p->is_open) {
        return;
    }
    g->flow = ++x->last_flow;
    g->is_spawn = is_spawn;
    begin_event(x, 's', track_of(x, p), x->now_ns);
    say(x, ",\"cat\":\"flow\",\"name\":\"%s\",\"id\":%llu}", is_spawn ? "spawns" : "wakes",
        (unsigned long long)g->flow);
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
    struct item *g = get(x, args[0]);
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
    struct item *g = get(x, id);
    struct place *p = place_of(x, m);
    m->g = id;
    if (g && p) {
        begin_slice(x, p, g);
        set_state(x, g, STATE_RUNNING);
    }
}

/* The coroutine that runs on m stops to. */
static void on_stop(struct cu__perfetto *x, struct thread *m, enum state state, struct text why,
                    uint64_t stack)
{
    uint32_t all = learn(x, m->g, stack);
    struct item *g = find(x, m->g);
    end_slice(x, place_of(x, m), why, all);
    m->g = 0;
    if (g && state == STATE_NONE) {
        x->counts[g->state]--;
        x->is_count_due = true;
        forget(x, g);
    } else if (g) {
        set_state(x, g, state);
    }
}

static void on_call_begin(struct cu__perfetto *x, struct thread *m, uint64_t stack)
{
    uint32_t all = learn(x, m->g, stack);
    struct place *p = place_of(x, m);
    struct item *g = find(x, m->g);
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
    struct item *g = find(x, m->g);
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
    struct item *g = get(x, args[0]);
    if (g) {
        set_state(x, g, STATE_RUNNABLE);
        begin_flow(x, m, g, true);
        learn(x, args[0], args[1]);
        learn(x, m->g, args[2]);
    }
}

static void on_unblock(struct cu__perfetto *x, const struct thread *m, const uint64_t *args)
{
    struct item *g = get(x, args[0]);
    if (g) {
        set_state(x, g, STATE_RUNNABLE);
        begin_flow(x, m, g, false);
        learn(x, m->g, args[2]);
    }
}

/* ---- tasks, regions, logs, heap -------------------------------------------------------------- */

static void put_async(struct cu__perfetto *x, char phase, const struct place *p, const char *category,
                      uint64_t id)
{
    begin_event(x, phase, p ? track_of(x, p) : 0, x->now_ns);
    say(x, ",\"cat\":\"%s\",\"id\":\"%s %llu\",\"name\":\"", category, category,
        (unsigned long long)id);
}

static void on_task(struct cu__perfetto *x, const struct thread *m, const struct event *e)
{
    uint64_t key = e->args[0] | TASK_BIT;
    bool begins = e->type == COPPER_WIRE_TASK_BEGIN;
    struct item *task = begins ? get(x, key) : find(x, key);
    if (!task) {
        return; /* it began before the trace */
    }
    struct text name = string(x, e->args[2]);
    if (begins) {
        task->name = intern(x, name.bytes, name.n);
    }
    put_async(x, begins ? 'b' : 'e', place_of(x, m), "task", e->args[0]);
    put_interned(x, task->name);
    say(x, "\",\"args\":{\"coroutine\":%llu", (unsigned long long)m->g);
    if (begins) {
        say(x, ",\"parent\":%llu}}", (unsigned long long)e->args[1]);
    } else {
        say(x, "}}");
        forget(x, task);
    }
}

static void on_region(struct cu__perfetto *x, const struct thread *m, const struct event *e)
{
    struct item *g = find(x, m->g);
    bool begins = e->type == COPPER_WIRE_REGION_BEGIN;
    if (!g || (!begins && g->regions == 0)) {
        return; /* it began before the trace */
    }
    g->regions += begins ? 1 : -1u;
    struct text name = string(x, e->args[1]);
    put_async(x, begins ? 'b' : 'e', place_of(x, m), "coroutine", m->g);
    put_text(x, name.bytes, name.n);
    say(x, "\",\"args\":{\"task\":%llu}}", (unsigned long long)e->args[0]);
}

static void on_log(struct cu__perfetto *x, const struct thread *m, const struct event *e)
{
    const struct place *p = place_of(x, m);
    struct text key = string(x, e->args[1]), value = string(x, e->args[2]);
    begin_event(x, 'i', p ? track_of(x, p) : 0, x->now_ns);
    say(x, ",\"s\":\"t\",\"name\":\"");
    put_text(x, key.bytes, key.n);
    say(x, "%s", key.n ? ": " : "");
    put_text(x, value.bytes, value.n);
    say(x, "\",\"args\":{\"coroutine\":%llu,\"task\":%llu}}", (unsigned long long)m->g,
        (unsigned long long)e->args[0]);
}

static void on_heap(struct cu__perfetto *x, uint64_t bytes)
{
    begin_event(x, 'C', 0, x->now_ns);
    say(x, ",\"name\":\"heap\",\"args\":{\"bytes\":%llu}}", (unsigned long long)bytes);
}

static void on_procs(struct cu__perfetto *x, uint64_t procs)
{
    begin_event(x, 'C', 0, x->now_ns);
    say(x, ",\"name\":\"procs\",\"args\":{\"P\":%llu}}", (unsigned long long)procs);
}

static void on_label(struct cu__perfetto *x, const struct thread *m, uint64_t label)
{
    struct item *g = find(x, m->g);
    struct text text = string(x, label);
    if (g) {
        g->labels = intern(x, text.bytes, text.n);
    }
}

static void on_event(struct cu__perfetto *x, uint64_t tid, const struct event *e)
{
    struct thread *m = thread_of(x, tid), *from;
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
        on_stop(x, m, STATE_RUNNABLE, string(x, e->args[0]), e->args[1]);
        break;
    case COPPER_WIRE_GO_BLOCK:
        on_stop(x, m, STATE_WAITING, string(x, e->args[0]), e->args[1]);
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
    say(x, "{\"displayTimeUnit\":\"ns\",\"otherData\":{\"clock\":\"CLOCK_MONOTONIC\"},\"traceEvents\":[\n");
    begin_event(x, 'M', 0, 0);
    say(x, ",\"name\":\"process_name\",\"args\":{\"name\":\"");
    put_text(x, program_invocation_short_name, strlen(program_invocation_short_name));
    say(x, "\"}}");
}

struct cu__perfetto *cu__perfetto_new(cu__trace_sink *sink, void *arg)
{
    struct cu__perfetto *x = calloc(1, sizeof(*x));
    if (x) {
        x->sink = sink;
        x->arg = arg;
        begin_text(x);
    }
    return x;
}

int cu__perfetto_add(struct cu__perfetto *x, const unsigned char *bytes, size_t n)
{
    struct reader r = {bytes, bytes + n};
    x->nbatches = x->nstrings = x->nstacks = 0;
    while (r.at < r.end && !x->err) {
        read_batch(x, &r);
    }
    for (uint32_t i = x->nbatches / 2; i-- > 0;) {
        sift_down(x, i);
    }
    while (x->nbatches > 0 && !x->err) {
        struct batch *first = &x->batches[0];
        int64_t now_ns = (int64_t)(first->head.unit * COPPER_WIRE_UNIT_NS);
        count(x, now_ns);
        x->now_ns = now_ns;
        on_event(x, first->thread, &first->head);
        if (!step(x, first)) {
            *first = x->batches[--x->nbatches];
        }
        if (x->nbatches > 0) {
            sift_down(x, 0);
        }
    }
    return x->err;
}

int cu__perfetto_end(struct cu__perfetto *x)
{
    for (uint32_t i = 0; i < PLACES; i++) {
        end_slice(x, &x->places[i], word("end of the trace"), COPPER_INTERN_NONE);
    }
    count(x, INT64_MAX);
    say(x, "\n]}\n");
    flush(x);
    return x->err;
}

void cu__perfetto_free(struct cu__perfetto *x)
{
    if (x) {
        cu__interner_clear(&x->texts);
        cu__interner_clear(&x->thread_ids);
        free(x->items.items);
        free(x->threads);
        free(x->strings);
        free(x->stacks);
        free(x->batches);
        free(x);
    }
}
