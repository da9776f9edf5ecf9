/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see trace_model.h. From top to bottom: tables; what is written; how things are
 * mentioned; how states are reached; the events.
 */
#include "trace_model.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COPPER_MODEL_P_MAX     COPPER_TRACE_SPARE_P
#define COPPER_MODEL_M_BUCKETS 1024u
#define COPPER_REGIONS_MAX     64u
#define COPPER_SLAB            256u
#define COPPER_RECENT          64u /* a power of two */

/* The format's numbers; 0: not known. */
enum g_status { G_NONE, G_RUNNABLE, G_RUNNING, G_SYSCALL, G_WAITING };
enum p_status { P_NONE, P_RUNNING, P_IDLE, P_SYSCALL };

struct region {
    uint64_t task;
    size_t n;
    char name[];
};

struct model_g {
    int64_t id;
    uint64_t generation; /* in which it was last mentioned */
    uint64_t seq;
    uint64_t entry;        /* 0: unknown */
    struct cu__model_m *m; /* where it runs or sits in a call */
    const struct cu_labels *labels;
    uint64_t labelled;       /* generation in which they were told */
    struct region **regions; /* open ones, innermost last; NULL: never had any */
    unsigned nregions;
    uint32_t birth; /* creation stack */
    uint8_t status;
    bool is_guess;        /* status is what an inspection saw */
    struct model_g *next; /* free list */
};

struct model_p {
    uint64_t id, generation, seq;
    struct cu__model_m *m;
    enum p_status status;
};

struct cu__model_m {
    uint64_t tid;
    struct model_p *p, *last_p; /* last_p: what it holds, or held last */
    struct model_g *g;
    struct cu__wire_batch *batch; /* NULL: nothing written yet */
    int64_t guess_g, guess_p;     /* what an inspection saw running here; 0: nothing, or outdated */
    uint64_t lost;                /* to be told by a log line */
    struct cu__model_m *next;     /* in its bucket */
};

struct cu__model {
    struct cu__wire wire;
    struct cu__names names;
    uint64_t generation, first_generation;
    int64_t now_ns;
    struct model_g **gs; /* open addressing, at most half full */
    uint32_t gs_size, gs_count;
    struct model_g *recent[COPPER_RECENT]; /* by id: found last; NULL: none */
    struct model_g *free_gs;
    struct slab {
        struct slab *next;
        struct model_g gs[COPPER_SLAB];
    } * slabs;
    struct model_p ps[COPPER_MODEL_P_MAX + 1]; /* the last is the spare one */
    struct cu__model_m *ms[COPPER_MODEL_M_BUCKETS];
    struct cu__model_m nobody; /* the stream of no thread */
    struct cu__model_m *self;  /* the writer's own thread: what nobody did happens there */
    struct cu__wire_batch tables, samples;
    uint64_t reasons[UINT8_MAX + 1];  /* ids of their texts in this generation; 0: not used */
    const struct cu__model_m *last_m; /* whose event was written last, and when, in units */
    uint64_t last_unit;
    struct cu__model_stats stats;
    uint64_t heap_bytes; /* to be told; 0: nothing */
    uint64_t procs;      /* 0: not known */
    uint64_t procs_told; /* generation in which that was told; 0: in none */
    bool is_failed;
};

/* ---- tables ---------------------------------------------------------------------------------- */

static uint32_t home_of(const struct cu__model *model, int64_t id)
{
    return (uint32_t)((uint64_t)id * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (model->gs_size - 1);
}

static __attribute__((noinline)) struct model_g *search_g(struct cu__model *model, int64_t id)
{
    for (uint32_t at = home_of(model, id); model->gs[at]; at = (at + 1) & (model->gs_size - 1)) {
        if (model->gs[at]->id == id) {
            model->recent[(uint64_t)id % COPPER_RECENT] = model->gs[at];
            return model->gs[at];
        }
    }
    return NULL;
}

static inline struct model_g *find_g(struct cu__model *model, int64_t id)
{
    struct model_g *g = model->recent[(uint64_t)id % COPPER_RECENT];
    return g && g->id == id ? g : search_g(model, id);
}

static void insert_g(struct cu__model *model, struct model_g *g)
{
    uint32_t at = home_of(model, g->id);
    while (model->gs[at]) {
        at = (at + 1) & (model->gs_size - 1);
    }
    model->gs[at] = g;
}

static bool grow_gs(struct cu__model *model)
{
    struct model_g **old = model->gs;
    uint32_t old_size = model->gs_size;
    struct model_g **larger = calloc((size_t)old_size * 2, sizeof(*larger));
    if (!larger) {
        return false;
    }
    model->gs = larger;
    model->gs_size = old_size * 2;
    for (uint32_t i = 0; i < old_size; i++) {
        if (old[i]) {
            insert_g(model, old[i]);
        }
    }
    free(old);
    return true;
}

static struct model_g *take_g(struct cu__model *model)
{
    if (!model->free_gs) {
        struct slab *slab = malloc(sizeof(*slab));
        if (!slab) {
            return NULL;
        }
        slab->next = model->slabs;
        model->slabs = slab;
        for (unsigned i = 0; i < COPPER_SLAB; i++) {
            slab->gs[i].regions = NULL;
            slab->gs[i].nregions = 0;
            slab->gs[i].next = model->free_gs;
            model->free_gs = &slab->gs[i];
        }
    }
    struct model_g *g = model->free_gs;
    model->free_gs = g->next;
    return g;
}

static __attribute__((noinline)) struct model_g *new_g(struct cu__model *model, int64_t id)
{
    bool has_room = model->gs_count * 2 < model->gs_size || grow_gs(model);
    struct model_g *g = has_room ? take_g(model) : NULL;
    if (!g) {
        model->is_failed = true;
        return NULL;
    }
    *g = (struct model_g){.id = id, .birth = COPPER_INTERN_NONE};
    model->gs_count++;
    insert_g(model, g);
    return g;
}

/* Known or new; NULL: out of memory, and the trace has failed. */
static inline struct model_g *get_g(struct cu__model *model, int64_t id)
{
    struct model_g *g = find_g(model, id);
    return g ? g : new_g(model, id);
}

static void drop_regions(struct model_g *g)
{
    for (unsigned i = 0; i < g->nregions; i++) {
        free(g->regions[i]);
    }
    free(g->regions);
    g->regions = NULL;
    g->nregions = 0;
}

/* Takes it out, and closes the gap. */
static void forget_g(struct cu__model *model, struct model_g *g)
{
    uint32_t mask = model->gs_size - 1, hole = home_of(model, g->id);
    if (model->recent[(uint64_t)g->id % COPPER_RECENT] == g) {
        model->recent[(uint64_t)g->id % COPPER_RECENT] = NULL;
    }
    while (model->gs[hole] != g) {
        hole = (hole + 1) & mask;
    }
    for (uint32_t at = (hole + 1) & mask; model->gs[at]; at = (at + 1) & mask) {
        uint32_t home = home_of(model, model->gs[at]->id);
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            model->gs[hole] = model->gs[at];
            hole = at;
        }
    }
    model->gs[hole] = NULL;
    model->gs_count--;
    drop_regions(g);
    g->next = model->free_gs;
    model->free_gs = g;
}

static struct model_p *get_p(struct cu__model *model, int64_t p)
{
    return p >= 0 && p < (int64_t)COPPER_MODEL_P_MAX ? &model->ps[p] : NULL;
}

static struct model_p *spare(struct cu__model *model)
{
    return &model->ps[COPPER_MODEL_P_MAX];
}

struct cu__model_m *cu__model_thread(struct cu__model *model, int32_t tid)
{
    struct cu__model_m **bucket = &model->ms[(uint32_t)tid % COPPER_MODEL_M_BUCKETS];
    for (struct cu__model_m *m = *bucket; m; m = m->next) {
        if (m->tid == (uint64_t)tid) {
            return m;
        }
    }
    struct cu__model_m *m = calloc(1, sizeof(*m));
    if (!m) {
        model->is_failed = true;
        return NULL;
    }
    m->tid = (uint64_t)tid;
    m->next = *bucket;
    *bucket = m;
    return m;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* Events of different threads never have the same time: Go's reader, when the event that it looks
 * at first must wait, does not try all others of that time where there are many threads. */
static int64_t time_for(struct cu__model *model, const struct cu__model_m *m)
{
    uint64_t unit = cu__wire_time(model->now_ns);
    uint64_t least = model->last_unit + (m != model->last_m);
    model->last_m = m;
    model->last_unit = unit > least ? unit : least;
    return (int64_t)(model->last_unit * COPPER_WIRE_UNIT_NS);
}

static __attribute__((noinline)) bool add_batch(struct cu__model *model, struct cu__model_m *m)
{
    m->batch = malloc(sizeof(*m->batch));
    if (!m->batch) {
        model->is_failed = true;
        return false;
    }
    m->batch->thread = m->tid;
    m->batch->n = 0;
    m->batch->last = 0;
    return true;
}

static inline void write_event(struct cu__model *model, struct cu__model_m *m,
                               enum cu__wire_type type, const uint64_t *args, unsigned nargs)
{
    if (!m->batch && !add_batch(model, m)) {
        return;
    }
    cu__wire_event(&model->wire, m->batch, time_for(model, m), type, args, nargs);
}

#define WRITE(model, m, type, ...)                                                                 \
    write_event(model, m, COPPER_WIRE_##type, (const uint64_t[]){__VA_ARGS__},                     \
                sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))
#define WRITE_BARE(model, m, type) write_event(model, m, COPPER_WIRE_##type, NULL, 0)

static uint64_t string(struct cu__model *model, const char *text)
{
    return cu__wire_string(&model->wire, text, strlen(text));
}

static uint64_t stack_id(struct cu__model *model, uint32_t stack)
{
    return cu__names_id(&model->names, stack);
}

/* ---- mentioning ------------------------------------------------------------------------------ */

static __attribute__((noinline)) void introduce_p(struct cu__model *model, struct model_p *p,
                                                  struct cu__model_m *here)
{
    p->generation = model->generation;
    p->seq = 0;
    WRITE(model, p->m ? p->m : here, PROC_STATUS, p->id, p->status);
}

static inline void mention_p(struct cu__model *model, struct model_p *p, struct cu__model_m *here)
{
    if (p->generation != model->generation) {
        introduce_p(model, p, here);
    }
}

/* A P is always mentioned before the coroutine that runs on it. */
static __attribute__((noinline)) void introduce_g(struct cu__model *model, struct model_g *g,
                                                  struct cu__model_m *here)
{
    g->generation = model->generation;
    g->seq = 0;
    if (g->m && g->m->p) {
        mention_p(model, g->m->p, g->m);
    }
    WRITE(model, g->m ? g->m : here, GO_STATUS, (uint64_t)g->id, g->m ? g->m->tid : 0, g->status);
}

static inline void mention_g(struct cu__model *model, struct model_g *g, struct cu__model_m *here)
{
    if (g->generation != model->generation) {
        introduce_g(model, g, here);
    }
}

static inline void mention_m(struct cu__model *model, struct cu__model_m *m)
{
    if (m->p) {
        mention_p(model, m->p, m);
    }
    if (m->g) {
        mention_g(model, m->g, m);
    }
}

/* ---- reaching a state ------------------------------------------------------------------------ */

static void bind_g(struct model_g *g, struct cu__model_m *m, enum g_status status)
{
    g->status = (uint8_t)status;
    g->m = m;
    m->g = g;
}

static void unbind_g(struct model_g *g, enum g_status status)
{
    g->m->g = NULL;
    g->m = NULL;
    g->status = (uint8_t)status;
}

static void bind_p(struct model_p *p, struct cu__model_m *m)
{
    p->status = P_RUNNING;
    p->m = m;
    m->p = m->last_p = p;
}

static void release_p(struct model_p *p)
{
    p->m->p = NULL;
    p->m = NULL;
    p->status = P_IDLE;
}

static void stop_g(struct cu__model *model, struct model_g *g, const char *reason, uint32_t stack)
{
    mention_m(model, g->m);
    WRITE(model, g->m, GO_STOP, string(model, reason), stack_id(model, stack));
    unbind_g(g, G_RUNNABLE);
}

/* The thread gives its P up; a coroutine that runs there stops first. */
static void stop_p(struct cu__model *model, struct cu__model_m *m)
{
    if (m->g && m->g->status == G_RUNNING) {
        model->stats.mended++;
        stop_g(model, m->g, "unspecified", COPPER_INTERN_NONE);
    }
    mention_m(model, m);
    WRITE_BARE(model, m, PROC_STOP);
    release_p(m->p);
}

static void start_p(struct cu__model *model, struct cu__model_m *m, struct model_p *p)
{
    if (m->p == p && p->status == P_RUNNING) {
        return;
    }
    if (m->p) {
        stop_p(model, m);
    }
    if (p->m) {
        model->stats.mended++;
        stop_p(model, p->m);
    }
    if (p->status == P_NONE && p != spare(model)) {
        bind_p(p, m); /* it was there all the time: mentioned as running */
        return;
    }
    p->status = P_IDLE;
    mention_p(model, p, m);
    WRITE(model, m, PROC_START, p->id, ++p->seq);
    bind_p(p, m);
}

/* Back from a call, its P lost. */
static void end_call_blocked(struct cu__model *model, struct model_g *g)
{
    if (g->m->p && g->m->p->status == P_SYSCALL) {
        stop_p(model, g->m);
    }
    mention_m(model, g->m);
    WRITE_BARE(model, g->m, GO_SYSCALL_END_BLOCKED);
    unbind_g(g, G_RUNNABLE);
}

static void begin_call(struct cu__model *model, struct model_g *g, uint32_t stack)
{
    mention_m(model, g->m);
    WRITE(model, g->m, GO_SYSCALL_BEGIN, ++g->m->p->seq, stack_id(model, stack));
    g->status = G_SYSCALL;
    g->m->p->status = P_SYSCALL;
}

static void end_call(struct cu__model *model, struct model_g *g)
{
    mention_m(model, g->m);
    WRITE_BARE(model, g->m, GO_SYSCALL_END);
    g->status = G_RUNNING;
    g->m->p->status = P_RUNNING;
}

/* g, on a thread, has lost its P and leaves the thread. It was in a call as far as a reader knows,
 * or is so from now on: the hand-off may be told later than what the coroutine itself tells. */
static void leave_without_p(struct cu__model *model, struct model_g *g, uint32_t stack)
{
    if (g->status == G_RUNNING) {
        begin_call(model, g, stack);
    }
    end_call_blocked(model, g);
}

/* Off the thread it is on. */
static void displace(struct cu__model *model, struct model_g *g)
{
    model->stats.mended++;
    if (g->status == G_SYSCALL) {
        end_call_blocked(model, g);
    } else {
        stop_g(model, g, "unspecified", COPPER_INTERN_NONE);
    }
}

static void create_g(struct cu__model *model, struct cu__model_m *m, struct model_g *g,
                     uint32_t stack)
{
    WRITE(model, m, GO_CREATE, (uint64_t)g->id, stack_id(model, g->birth), stack_id(model, stack));
    g->status = G_RUNNABLE;
    g->generation = model->generation;
    g->seq = 0;
    g->is_guess = false;
}

/* By a thread that has no P. */
static void create_aside(struct cu__model *model, struct cu__model_m *m, struct model_g *g,
                         uint32_t stack)
{
    start_p(model, m, spare(model));
    create_g(model, m, g, stack);
    stop_p(model, m);
}

static bool is_unknown(const struct model_g *g)
{
    return g->status == G_NONE || g->is_guess;
}

/* What happens to g first says in which state it was. Only the first generation of a file may
 * introduce coroutines so; later ones must create them. False: it was created, and is runnable. */
static bool introduce(struct cu__model *model, struct model_g *g, enum g_status status)
{
    g->is_guess = false;
    if (model->generation == model->first_generation) {
        g->status = (uint8_t)status;
        return true;
    }
    model->stats.mended++;
    create_aside(model, model->self, g, COPPER_INTERN_NONE);
    return false;
}

static void unblock(struct cu__model *model, struct cu__model_m *m, struct model_g *g,
                    uint32_t stack)
{
    mention_g(model, g, m);
    WRITE(model, m, GO_UNBLOCK, (uint64_t)g->id, ++g->seq, stack_id(model, stack));
    g->status = G_RUNNABLE;
}

static void make_runnable(struct cu__model *model, struct model_g *g)
{
    if (is_unknown(g)) {
        introduce(model, g, G_RUNNABLE);
    } else if (g->status == G_WAITING) {
        model->stats.mended++;
        unblock(model, &model->nobody, g, COPPER_INTERN_NONE);
    } else if (g->m) {
        displace(model, g);
    }
}

static void start_g(struct cu__model *model, struct cu__model_m *m, struct model_g *g)
{
    mention_m(model, m);
    mention_g(model, g, m);
    WRITE(model, m, GO_START, (uint64_t)g->id, ++g->seq);
    bind_g(g, m, G_RUNNING);
}

static void make_waiting(struct cu__model *model, struct model_g *g)
{
    if (is_unknown(g) && introduce(model, g, G_WAITING)) {
        return;
    }
    if (g->status == G_WAITING) {
        return;
    }
    model->stats.mended++;
    make_runnable(model, g);
    start_p(model, model->self, spare(model));
    start_g(model, model->self, g);
    WRITE(model, model->self, GO_BLOCK, string(model, "unspecified"), 0);
    unbind_g(g, G_WAITING);
    stop_p(model, model->self);
}

/* g runs on m with p; false: it does not and cannot. */
static __attribute__((noinline)) bool reach_running(struct cu__model *model, struct model_g *g,
                                                    struct cu__model_m *m, struct model_p *p)
{
    if (p == NULL) {
        return g->status == G_RUNNING && g->m == m;
    }
    if (g->status == G_SYSCALL && g->m == m && m->p == p && p->status == P_SYSCALL) {
        end_call(model, g); /* it parks within the call, say */
        return true;
    }
    bool is_new = is_unknown(g) && model->generation == model->first_generation;
    if (is_new) {
        g->is_guess = false;
        g->status = G_RUNNABLE;
    } else {
        model->stats.mended++;
        make_runnable(model, g);
    }
    if (m->g) {
        displace(model, m->g);
    }
    start_p(model, m, p);
    if (is_new) {
        bind_g(g, m, G_RUNNING);
    } else {
        start_g(model, m, g);
    }
    return true;
}

static inline bool make_running(struct cu__model *model, struct model_g *g, struct cu__model_m *m,
                                struct model_p *p)
{
    bool is_so = p && g->status == G_RUNNING && g->m == m && m->p == p;
    return is_so || reach_running(model, g, m, p);
}

/* g runs on m, and has lost its P. What it does next the format knows only of one that has a P: it
 * runs on the spare one just for that. */
static void make_running_aside(struct cu__model *model, struct model_g *g, struct cu__model_m *m,
                               uint32_t stack)
{
    if (g->m == m && g->status != G_NONE) {
        leave_without_p(model, g, stack);
    } else if (g->status != G_RUNNABLE || g->is_guess) {
        make_runnable(model, g);
    }
    if (m->g) {
        displace(model, m->g);
    }
    start_p(model, m, spare(model));
    start_g(model, m, g);
}

/* g, as it says, is the one that runs on m: at the beginning of a recording nothing else says so.
 */
static void recall(struct cu__model *model, struct cu__model_m *m, int64_t id)
{
    if (m->g || id == 0 || m->guess_g != id) {
        return;
    }
    struct model_g *g = get_g(model, id);
    struct model_p *p = get_p(model, m->guess_p);
    if (!g || !is_unknown(g) || model->generation != model->first_generation) {
        return;
    }
    if (p && p->status == P_NONE) {
        make_running(model, g, m, p);
    } else if (m->guess_p < 0 && !m->p) {
        g->is_guess = false;
        bind_g(g, m, G_SYSCALL); /* its P was taken before the trace began */
    }
}

/* ---- events ---------------------------------------------------------------------------------- */

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
        model->reasons[reason] = string(model, reason_text(reason));
    }
    return model->reasons[reason];
}

static __attribute__((noinline)) void write_labels(struct cu__model *model, struct cu__model_m *m,
                                                   struct model_g *g)
{
    char text[COPPER_WIRE_TEXT_MAX];
    size_t n = 0, count = cu_labels_count(g->labels);
    for (size_t i = 0; i < count && n < sizeof(text); i++) {
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s=%s", i ? "," : "",
                              cu_labels_key(g->labels, i), cu_labels_value(g->labels, i));
    }
    g->labelled = model->generation;
    if (n) {
        WRITE(model, m, GO_LABEL, cu__wire_string(&model->wire, text, strnlen(text, sizeof(text))));
    }
}

static inline void tell_labels(struct cu__model *model, struct cu__model_m *m, struct model_g *g)
{
    if (g->labels && g->labelled != model->generation) {
        write_labels(model, m, g);
    }
}

static __attribute__((noinline)) void tell_lost(struct cu__model *model, struct cu__model_m *m)
{
    char text[64];
    snprintf(text, sizeof(text), "%llu events of this thread lost", (unsigned long long)m->lost);
    m->lost = 0;
    WRITE(model, m, LOG, 0, string(model, "copper"), string(model, text), 0);
}

static void on_created(struct cu__model *model, struct cu__model_m *m,
                       const struct cu__trace_record *r, struct model_g *g, uint32_t stack)
{
    recall(model, m, (int64_t)r->args[0]);
    if (!is_unknown(g)) {
        return; /* it was made up when its creation was thought lost */
    }
    g->birth = cu__names_birth(&model->names, (const void *)(uintptr_t)r->args[1], g->id);
    if (m->p && m->p->status == P_RUNNING) {
        mention_m(model, m);
        create_g(model, m, g, stack);
    } else if (m->g || m->p) {
        create_aside(model, model->self, g, stack);
    } else {
        create_aside(model, m, g, COPPER_INTERN_NONE);
    }
}

static void on_ready(struct cu__model *model, struct cu__model_m *m,
                     const struct cu__trace_record *r, struct model_g *g, uint32_t stack)
{
    if (r->words > COPPER_TRACE_HEAD_WORDS) {
        recall(model, m, (int64_t)r->args[0]);
    }
    make_waiting(model, g);
    mention_m(model, m);
    unblock(model, m, g, stack);
}

static void on_running(struct cu__model *model, struct cu__model_m *m,
                       const struct cu__trace_record *r, struct model_g *g, struct model_p *p)
{
    if (r->words > COPPER_TRACE_HEAD_WORDS) {
        g->entry = r->args[0];
        cu__names_born(&model->names, g->birth, g->entry);
    }
    if (!p) {
        return;
    }
    if (m->g == g && g->m == m && m->p != p) {
        leave_without_p(model, g, COPPER_INTERN_NONE); /* it got p without leaving its thread */
    } else if (m->g && m->g != g) {
        displace(model, m->g);
    }
    if (g->status != G_RUNNABLE || g->is_guess) {
        make_runnable(model, g);
    }
    start_p(model, m, p);
    start_g(model, m, g);
    tell_labels(model, m, g);
    if (m->lost) {
        tell_lost(model, m);
    }
}

static void on_parked(struct cu__model *model, struct cu__model_m *m,
                      const struct cu__trace_record *r, struct model_g *g, struct model_p *p,
                      uint32_t stack)
{
    if (!p) {
        make_running_aside(model, g, m, stack);
    } else {
        make_running(model, g, m, p);
    }
    mention_m(model, m);
    WRITE(model, m, GO_BLOCK, reason_id(model, r->reason), stack_id(model, stack));
    unbind_g(g, G_WAITING);
    if (!p) {
        stop_p(model, m);
    }
}

static void on_yielded(struct cu__model *model, struct cu__model_m *m, struct model_g *g,
                       struct model_p *p, uint32_t stack)
{
    if (make_running(model, g, m, p)) {
        stop_g(model, g, "runtime.Gosched", stack);
    }
}

/* g found out that it lost its P, and waits for another. */
static void on_preempted(struct cu__model *model, struct cu__model_m *m, struct model_g *g,
                         uint32_t stack)
{
    if (g->m == m && g->status != G_NONE) {
        leave_without_p(model, g, stack);
    } else {
        make_runnable(model, g);
    }
}

static void on_exited(struct cu__model *model, struct cu__model_m *m, struct model_g *g,
                      struct model_p *p)
{
    if (!p) {
        make_running_aside(model, g, m, COPPER_INTERN_NONE);
    } else {
        make_running(model, g, m, p);
    }
    mention_m(model, m);
    WRITE_BARE(model, m, GO_DESTROY);
    unbind_g(g, G_NONE);
    if (!p) {
        stop_p(model, m);
    }
    forget_g(model, g);
}

/* One that lost its P without a call is shown in one already, which then goes on. */
static void on_syscall_begin(struct cu__model *model, struct cu__model_m *m, struct model_g *g,
                             struct model_p *p, uint32_t stack)
{
    bool is_shown = g->status == G_SYSCALL && g->m == m && !m->p;
    if (!is_shown && make_running(model, g, m, p)) {
        begin_call(model, g, stack);
    }
}

static void on_syscall_end(struct cu__model *model, struct cu__model_m *m, struct model_g *g,
                           struct model_p *p)
{
    if (p) {
        make_running(model, g, m, p);
    } else if (g->m == m && g->status != G_NONE) {
        leave_without_p(model, g, COPPER_INTERN_NONE);
    } else {
        make_runnable(model, g);
    }
}

/* p was taken from g, which goes on on the thread `tid` without one. Told by who took it, perhaps
 * after the thread has found out and told of it: then nothing is left to say. */
static void on_handoff(struct cu__model *model, struct cu__model_m *m,
                       const struct cu__trace_record *r, struct model_g *g, struct model_p *p)
{
    struct cu__model_m *victim = cu__model_thread(model, (int32_t)r->args[0]);
    if (!victim || !p) {
        return;
    }
    if (p->status == P_NONE && g && is_unknown(g)) {
        make_running(model, g, victim, p);
    }
    if (victim->p != p) {
        return;
    }
    if (victim->g && victim->g->status == G_RUNNING) {
        begin_call(model, victim->g, COPPER_INTERN_NONE);
    }
    if (victim == m || p->status != P_SYSCALL) {
        stop_p(model, victim);
        return;
    }
    mention_m(model, victim);
    mention_m(model, m);
    WRITE(model, m, PROC_STEAL, victim->p->id, ++victim->p->seq, victim->tid);
    release_p(victim->p);
}

/* A coroutine that is still there lost another P before. */
static void on_p_started(struct cu__model *model, struct cu__model_m *m, struct model_p *p)
{
    if (!p) {
        return;
    }
    if (m->g && m->p != p) {
        leave_without_p(model, m->g, COPPER_INTERN_NONE);
    }
    start_p(model, m, p);
}

static void on_p_stopped(struct cu__model *model, struct cu__model_m *m, struct model_p *p)
{
    if (!p || (p->status == P_IDLE && m->p != p)) {
        return;
    }
    if (p->m != m) {
        start_p(model, m, p);
    }
    stop_p(model, m);
}

static void on_thread_ended(struct cu__model *model, struct cu__model_m *m)
{
    if (m->g) {
        displace(model, m->g);
    }
    if (m->p) {
        stop_p(model, m);
    }
}

/* ---- tasks, regions, logs -------------------------------------------------------------------- */

static void write_region_end(struct cu__model *model, struct model_g *g, uint64_t stack)
{
    struct region *region = g->regions[--g->nregions];
    WRITE(model, g->m, REGION_END, region->task,
          cu__wire_string(&model->wire, region->name, region->n), stack);
    free(region);
}

static void on_region_begin(struct cu__model *model, struct model_g *g,
                            const struct cu__trace_record *r, uint64_t stack)
{
    size_t n = (size_t)r->args[1];
    if (!g->regions) {
        g->regions = calloc(COPPER_REGIONS_MAX, sizeof(*g->regions));
    }
    struct region *region = g->nregions < COPPER_REGIONS_MAX ? malloc(sizeof(*region) + n) : NULL;
    if (!g->regions || !region) {
        free(region);
        model->stats.dropped++;
        return;
    }
    region->task = r->args[0];
    region->n = n;
    memcpy(region->name, r->args + 2, n);
    g->regions[g->nregions++] = region;
    WRITE(model, g->m, REGION_BEGIN, region->task, cu__wire_string(&model->wire, region->name, n),
          stack);
}

/* Readers insist on nesting: regions within the one that ends are ended first, and an end without a
 * beginning counts only where nothing is open (it began before the trace). */
static void on_region_end(struct cu__model *model, struct model_g *g,
                          const struct cu__trace_record *r, uint64_t stack)
{
    size_t n = (size_t)r->args[1];
    unsigned at = g->nregions;
    while (at > 0 && !(g->regions[at - 1]->task == r->args[0] && g->regions[at - 1]->n == n &&
                       memcmp(g->regions[at - 1]->name, r->args + 2, n) == 0)) {
        at--;
    }
    if (at == 0 && g->nregions > 0) {
        model->stats.dropped++;
        return;
    }
    if (at == 0) {
        WRITE(model, g->m, REGION_END, r->args[0],
              cu__wire_string(&model->wire, (const char *)(r->args + 2), n), stack);
        return;
    }
    while (g->nregions >= at) {
        write_region_end(model, g, stack);
    }
}

static void write_annotation(struct cu__model *model, struct cu__model_m *m,
                             const struct cu__trace_record *r, struct model_g *g, uint32_t number)
{
    mention_m(model, m);
    uint64_t stack = stack_id(model, number);
    const char *text = (const char *)(r->args + 2);
    switch (r->kind) {
    case COPPER_TRACE_TASK_BEGIN:
        WRITE(model, m, TASK_BEGIN, r->args[0], r->args[1],
              cu__wire_string(&model->wire, (const char *)(r->args + 3), (size_t)r->args[2]),
              stack);
        break;
    case COPPER_TRACE_TASK_END:
        WRITE(model, m, TASK_END, r->args[0], stack);
        break;
    case COPPER_TRACE_REGION_BEGIN:
        on_region_begin(model, g, r, stack);
        break;
    case COPPER_TRACE_REGION_END:
        on_region_end(model, g, r, stack);
        break;
    default: {
        size_t key = (size_t)(r->args[1] & 0xffff), value = (size_t)(r->args[1] >> 16);
        WRITE(model, m, LOG, r->args[0], cu__wire_string(&model->wire, text, key),
              cu__wire_string(&model->wire, text + key, value), stack);
    }
    }
}

/* Only one that runs on a P can say something: in a call, and where it lost its P, it is made to
 * run for that. */
static void on_annotation(struct cu__model *model, struct cu__model_m *m,
                          const struct cu__trace_record *r, struct model_g *g, uint32_t stack)
{
    recall(model, m, r->g);
    bool is_in_call = m->g == g && g->status == G_SYSCALL, has_p = m->p != NULL;
    if (is_in_call && has_p) {
        end_call(model, g);
    } else if (is_in_call) {
        make_running_aside(model, g, m, COPPER_INTERN_NONE);
    }
    if (m->g != g || g->status != G_RUNNING || !m->p) {
        model->stats.dropped++;
        return;
    }
    write_annotation(model, m, r, g, stack);
    if (is_in_call) {
        begin_call(model, g, COPPER_INTERN_NONE);
    }
    if (is_in_call && !has_p) {
        stop_p(model, m);
    }
}

/* Only a thread with a P can. */
static void tell_heap(struct cu__model *model, struct cu__model_m *m)
{
    if (model->heap_bytes && m->p && m->p->status == P_RUNNING) {
        mention_m(model, m);
        WRITE(model, m, HEAP_ALLOC, model->heap_bytes);
        model->heap_bytes = 0;
    }
}

/* Only a coroutine that runs can. */
static void tell_procs(struct cu__model *model, struct cu__model_m *m, uint32_t stack)
{
    if (model->procs && model->procs_told != model->generation && m->p && m->g &&
        m->p->status == P_RUNNING && m->g->status == G_RUNNING) {
        mention_m(model, m);
        WRITE(model, m, PROCS_CHANGE, model->procs, stack_id(model, stack));
        model->procs_told = model->generation;
    }
}

/* ---- one event ------------------------------------------------------------------------------- */

void cu__model_apply(struct cu__model *model, struct cu__model_m *m,
                     const struct cu__trace_record *r, uint32_t stack)
{
    struct model_p *p = get_p(model, r->p);
    struct model_g *g = r->g ? get_g(model, r->g) : NULL;
    if (model->is_failed) {
        return;
    }
    model->now_ns = r->now_ns;
    model->stats.applied++;
    if (stack != COPPER_INTERN_NONE) {
        const struct model_g *self = m->g ? m->g : g;
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
        tell_procs(model, m, stack);
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
        on_annotation(model, m, r, g, stack);
        break;
    case COPPER_TRACE_STACK:
    case COPPER_TRACE_KIND_COUNT:
        break;
    }
    m->guess_g = 0; /* what the inspection saw is older or newer than this, and no longer needed */
    tell_heap(model, m);
    tell_procs(model, m, COPPER_INTERN_NONE);
}

void cu__model_procs(struct cu__model *model, uint64_t procs)
{
    model->procs = procs;
    model->procs_told = 0;
}

void cu__model_heap(struct cu__model *model, uint64_t bytes)
{
    model->heap_bytes = bytes;
}

bool cu__model_can(struct cu__model *model, struct cu__model_m *m, const struct cu__trace_record *r)
{
    const struct model_p *p = get_p(model, r->p);
    const struct model_g *g = r->g ? find_g(model, r->g) : NULL;
    bool is_known = g && !is_unknown(g);
    bool p_is_free = !p || !p->m || p->m == m;
    switch ((enum cu__trace_kind)r->kind) {
    case COPPER_TRACE_READY:
        return !is_known || g->status == G_WAITING;
    case COPPER_TRACE_RUNNING:
        return (!is_known || g->status == G_RUNNABLE || g->m == m) && p_is_free;
    case COPPER_TRACE_P_STARTED:
        return p_is_free;
    default:
        return true;
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

void cu__model_lost(struct cu__model *model, struct cu__model_m *m, uint64_t count)
{
    (void)model;
    m->lost += count;
}

void cu__model_inspected(struct cu__model *model, const struct cu_g_info *info)
{
    struct model_g *g = get_g(model, info->id);
    if (!g) {
        return;
    }
    g->entry = (uint64_t)(uintptr_t)info->entry;
    g->labels = info->labels;
    if (info->state == COPPER_G_RUNNABLE || info->state == COPPER_G_WAITING) {
        g->status = info->state == COPPER_G_WAITING ? G_WAITING : G_RUNNABLE;
        g->is_guess = true;
        return;
    }
    struct cu__model_m *m = info->tid ? cu__model_thread(model, info->tid) : NULL;
    if (m) {
        m->guess_g = info->id;
        m->guess_p = info->p;
    }
}

void cu__model_sample(struct cu__model *model, int64_t now_ns, int32_t tid, int64_t g,
                      uint32_t stack)
{
    /* samples come late, when the thread may hold another P, or none */
    struct cu__model_m *m = cu__model_thread(model, tid);
    unsigned char entry[64] = {COPPER_WIRE_CPU_SAMPLE};
    size_t n = 1;
    if (!m || now_ns < 0) {
        return;
    }
    n += cu__varint(entry + n, cu__wire_time(now_ns));
    n += cu__varint(entry + n, (uint64_t)(uint32_t)tid);
    n += cu__varint(entry + n, m->last_p ? m->last_p->id : UINT64_MAX);
    n += cu__varint(entry + n, (uint64_t)g);
    n += cu__varint(entry + n, stack_id(model, stack));
    cu__wire_entry(&model->wire, &model->samples, COPPER_WIRE_CPU_SAMPLES, now_ns, entry, n);
}

/* ---- generations ----------------------------------------------------------------------------- */

void cu__model_begin(struct cu__model *model, uint64_t generation, int64_t now_ns)
{
    model->generation = generation;
    model->first_generation = model->first_generation ? model->first_generation : generation;
    model->now_ns = now_ns;
    memset(model->reasons, 0, sizeof(model->reasons));
    cu__wire_begin(&model->wire, generation, now_ns);
}

/* Coroutines to which nothing has happened yet are as the inspection saw them. */
static void believe_guesses(struct cu__model *model)
{
    for (uint32_t i = 0; i < COPPER_MODEL_M_BUCKETS; i++) {
        for (struct cu__model_m *m = model->ms[i]; m; m = m->next) {
            recall(model, m, m->guess_g);
            m->guess_g = 0;
        }
    }
    for (uint32_t i = 0; i < model->gs_size; i++) {
        struct model_g *g = model->gs[i];
        if (g && is_unknown(g)) {
            g->is_guess = false;
            g->status = g->status == G_NONE ? G_RUNNABLE : g->status;
        }
    }
}

static void mention_all(struct cu__model *model)
{
    for (uint32_t i = 0; i < COPPER_MODEL_P_MAX; i++) {
        if (model->ps[i].status != P_NONE) {
            mention_p(model, &model->ps[i], &model->nobody);
        }
    }
    for (uint32_t i = 0; i < model->gs_size; i++) {
        if (model->gs[i]) {
            mention_g(model, model->gs[i], &model->nobody);
        }
    }
}

/* Threads that hold nothing may never come again. */
static void flush_threads(struct cu__model *model)
{
    for (uint32_t i = 0; i < COPPER_MODEL_M_BUCKETS; i++) {
        struct cu__model_m **link = &model->ms[i];
        while (*link) {
            struct cu__model_m *m = *link;
            if (m->batch) {
                cu__wire_flush(&model->wire, m->batch);
            }
            link = &m->next;
        }
    }
    if (model->nobody.batch) {
        cu__wire_flush(&model->wire, model->nobody.batch);
    }
}

unsigned char *cu__model_end(struct cu__model *model, int64_t now_ns, bool with_all, size_t *n)
{
    model->now_ns = now_ns;
    if (model->generation == model->first_generation) {
        believe_guesses(model);
        with_all = true;
    }
    if (with_all) {
        mention_all(model);
    }
    if (model->wire.n < COPPER_WIRE_BATCH_MAX) { /* a generation without any event is refused */
        spare(model)->status = spare(model)->status == P_NONE ? P_IDLE : spare(model)->status;
        mention_p(model, spare(model), &model->nobody);
    }
    flush_threads(model);
    cu__wire_flush(&model->wire, &model->samples);
    cu__names_write(&model->names, &model->wire, &model->tables, now_ns);
    cu__wire_strings(&model->wire, &model->tables, now_ns);
    model->is_failed |= model->names.is_failed;
    unsigned char *bytes = cu__wire_take(&model->wire, n);
    if (model->is_failed) {
        free(bytes);
        return NULL;
    }
    return bytes;
}

struct cu__model *cu__model_new(void)
{
    struct cu__model *model = calloc(1, sizeof(*model));
    if (!model) {
        return NULL;
    }
    model->gs_size = 4096;
    model->gs = calloc(model->gs_size, sizeof(*model->gs));
    model->self = cu__model_thread(model, (int32_t)syscall(SYS_gettid));
    if (!model->gs || !model->self) {
        cu__model_free(model);
        return NULL;
    }
    for (uint32_t i = 0; i < COPPER_MODEL_P_MAX; i++) {
        model->ps[i].id = i;
    }
    spare(model)->id = COPPER_TRACE_SPARE_P;
    model->nobody.tid = COPPER_WIRE_NO_THREAD;
    model->tables.thread = model->samples.thread = COPPER_WIRE_NO_THREAD;
    return model;
}

void cu__model_free(struct cu__model *model)
{
    if (!model) {
        return;
    }
    for (uint32_t i = 0; i < COPPER_MODEL_M_BUCKETS; i++) {
        for (struct cu__model_m *m = model->ms[i], *next; m; m = next) {
            next = m->next;
            free(m->batch);
            free(m);
        }
    }
    for (uint32_t i = 0; model->gs && i < model->gs_size; i++) {
        if (model->gs[i]) {
            drop_regions(model->gs[i]);
        }
    }
    for (struct slab *slab = model->slabs, *next; slab; slab = next) {
        next = slab->next;
        free(slab);
    }
    free(model->nobody.batch);
    free(model->gs);
    cu__names_clear(&model->names);
    cu__wire_clear(&model->wire);
    free(model);
}

size_t cu__model_bytes(const struct cu__model *model)
{
    return model->wire.n;
}

struct cu__names *cu__model_names(struct cu__model *model)
{
    return &model->names;
}

uint64_t cu__model_entry(struct cu__model *model, int64_t id)
{
    const struct model_g *g = id ? find_g(model, id) : NULL;
    return g ? g->entry : 0;
}

void cu__model_forget_births(struct cu__model *model)
{
    for (uint32_t i = 0; i < model->gs_size; i++) {
        if (model->gs[i]) {
            model->gs[i]->birth = COPPER_INTERN_NONE;
        }
    }
}

void cu__model_stats(const struct cu__model *model, struct cu__model_stats *out)
{
    *out = model->stats;
}
