/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see trace_writer.h: the merge of the threads' records, the cuts, the clients.
 *
 * The merge. A round first reads the clock, then looks at all streams, then applies every record up
 * to that time, the earliest first. By then everything that could have caused one of them is in
 * sight (trace_record.h). As times of events may be a little behind the clock (cu_hooks_now), a
 * round leaves the last moment to the next one, or waits for it to pass where nobody else will
 * come. Of records with equal times one that cannot be next waits for one that can.
 *
 * Concurrency: one lock for clients, totals and the flight recorder's ring. The model, the cursors
 * and the names belong to the writer thread. Threads of the host take no lock here.
 */
#include "trace_writer.h"

#include "cpu_int.h"
#include "timed_cond.h"
#include "trace_model.h"
#include "trace_record.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COPPER_TRACE_ROUND_NS      10000000
#define COPPER_TRACE_GENERATION_NS 1000000000
#define COPPER_TRACE_BEHIND_NS                                                                     \
    20000 /* more than events are, and a reading done ahead of its turn */
#define COPPER_TRACE_GENERATION  (16u << 20)  /* bytes after which one is cut */
#define COPPER_TRACE_QUEUE_BYTES (256u << 20) /* of a client that does not fetch */
#define COPPER_TRACE_NAMES_MAX   (1u << 17)   /* stacks remembered */
#define COPPER_TRACE_SAMPLES_MAX 4096u
#define COPPER_TRACE_GONE_NS     1000000000 /* how often ended threads are looked for */
#define COPPER_TRACE_HEAP_NS     100000000  /* how often the heap's size is told */

#pragma weak cu_maxprocs

enum client_state { CLIENT_JOINS, CLIENT_GETS, CLIENT_LEAVES, CLIENT_DONE };

struct cu__trace_client {
    struct cu__trace_client *next;
    cu__trace_sink *sink;
    void *arg;
    enum client_state state;
    bool is_seen; /* leaves: the round that began after it said so is the last one */
    int err;
    struct cu__blob *queue[64]; /* a ring */
    unsigned first, count;
    size_t bytes;
};

struct stream {
    struct cu__trace_cursor cursor;
    struct cu__model_m *m;
    int32_t tid;
    uint64_t lost;    /* told so far */
    uint32_t *stacks; /* number in the names, by the stream's number */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t asked;   /* the writer waits */
static pthread_cond_t changed; /* clients wait */
static pthread_once_t set_up_once = PTHREAD_ONCE_INIT;

/* lock */
static struct cu__trace_client *clients;
static bool is_running, is_ending;
static uint64_t cuts_wanted, cuts_done;
static struct cu__trace_totals totals;
static struct {
    int64_t keep_ns; /* 0: off */
    size_t max_bytes, bytes;
    struct cu__blob *ring[COPPER_FLIGHT_BLOBS];
    unsigned first, count;
    cu__flight_late *late;
} flight;

/* the writer thread */
static struct cu__model *model;
static struct stream *streams;
static uint64_t generation;
static int64_t began_ns, looked_for_gone_ns, told_heap_ns;
static int64_t drained_ns; /* all that happened until then is in the model */
static bool has_begun;     /* a generation */
static bool is_with_all;   /* this generation must mention everything */

/* samples_lock */
static pthread_mutex_t samples_lock = PTHREAD_MUTEX_INITIALIZER;
struct sample {
    int64_t now_ns, g;
    int32_t tid;
    unsigned n;
    bool is_cut;
    cu_frame frames[COPPER_TRACE_DEPTH];
};
static struct sample *samples;
static unsigned nsamples;

/* ---- blobs ----------------------------------------------------------------------------------- */

void cu__blob_drop(struct cu__blob *blob)
{
    if (blob && atomic_fetch_sub(&blob->references, 1) == 1) {
        free(blob->bytes);
        free(blob);
    }
}

static struct cu__blob *share(struct cu__blob *blob)
{
    atomic_fetch_add(&blob->references, 1);
    return blob;
}

/* ---- merging --------------------------------------------------------------------------------- */

static bool open_stream(uint32_t i)
{
    struct stream *s = &streams[i];
    const struct cu__trace_stream *source = cu__trace_stream(i);
    s->tid = atomic_load(&source->tid);
    s->m = cu__model_thread(model, s->tid);
    s->stacks = s->stacks ? s->stacks : malloc((COPPER_TRACE_STACK_CACHE + 1) * sizeof(*s->stacks));
    if (s->stacks) {
        memset(s->stacks, 0xff, (COPPER_TRACE_STACK_CACHE + 1) * sizeof(*s->stacks));
    }
    return s->m && s->stacks;
}

static void count_lost(uint64_t lost)
{
    pthread_mutex_lock(&lock);
    totals.lost += lost;
    pthread_mutex_unlock(&lock);
}

static void tell_lost(struct stream *s, const struct cu__trace_stream *source)
{
    uint64_t lost = atomic_load_explicit(&source->lost, memory_order_relaxed);
    if (lost != s->lost) {
        cu__model_lost(model, s->m, lost - s->lost);
        count_lost(lost - s->lost);
        s->lost = lost;
    }
}

static void define_stack(struct stream *s, const struct cu__trace_record *r)
{
    unsigned n = r->words - COPPER_TRACE_HEAD_WORDS;
    s->stacks[r->stack] = cu__names_stack(cu__model_names(model), r->args, n, r->reason != 0);
}

static void apply(struct stream *s, const struct cu__trace_record *r)
{
    if (r->kind == COPPER_TRACE_STACK) {
        define_stack(s, r);
    } else {
        cu__model_apply(model, s->m, r, r->stack ? s->stacks[r->stack] : COPPER_INTERN_NONE);
    }
    cu__trace_cursor_step(&s->cursor, r);
}

/* What could be next, by time. */
struct heads {
    struct {
        struct stream *s;
        const struct cu__trace_record *r;
    } at[COPPER_TRACE_STREAMS];
    unsigned n;
};

/* The next record of a head; false: there is none up to `until`. */
static bool advance(struct heads *h, unsigned i, int64_t until)
{
    h->at[i].r = cu__trace_cursor_peek(&h->at[i].s->cursor);
    if (h->at[i].r && h->at[i].r->now_ns <= until) {
        return true;
    }
    h->at[i] = h->at[--h->n];
    return false;
}

static unsigned earliest(const struct heads *h, int64_t *second_ns)
{
    unsigned best = 0;
    *second_ns = INT64_MAX;
    for (unsigned i = 1; i < h->n; i++) {
        if (h->at[i].r->now_ns < h->at[best].r->now_ns) {
            *second_ns = h->at[best].r->now_ns;
            best = i;
        } else if (h->at[i].r->now_ns < *second_ns) {
            *second_ns = h->at[i].r->now_ns;
        }
    }
    return best;
}

/* Another head of the same time that must come before this one. */
static unsigned instead_of(const struct heads *h, unsigned i)
{
    for (unsigned j = 0; j < h->n; j++) {
        if (j != i && h->at[j].r->now_ns == h->at[i].r->now_ns &&
            cu__model_can(model, h->at[j].s->m, h->at[j].r)) {
            return j;
        }
    }
    return i;
}

static void merge(struct heads *h, int64_t until)
{
    while (h->n > 0) {
        int64_t second_ns;
        unsigned i = earliest(h, &second_ns);
        if (h->at[i].r->now_ns == second_ns && !cu__model_can(model, h->at[i].s->m, h->at[i].r)) {
            i = instead_of(h, i);
        }
        do { /* alone up to the next one's time */
            apply(h->at[i].s, h->at[i].r);
        } while (advance(h, i, until) && h->at[i].r->now_ns < second_ns);
    }
}

/* Ended threads leave a stream that nobody writes any more. */
static void free_gone(int64_t now_ns)
{
    if (now_ns < looked_for_gone_ns + COPPER_TRACE_GONE_NS) {
        return;
    }
    looked_for_gone_ns = now_ns;
    for (uint32_t i = 0; i < cu__trace_streams(); i++) {
        struct cu__trace_stream *source = cu__trace_stream(i);
        struct stream *s = &streams[i];
        if (!s->m || syscall(SYS_tgkill, getpid(), s->tid, 0) == 0 || errno != ESRCH) {
            continue;
        }
        cu__trace_cursor_look(&s->cursor, source);
        if (cu__trace_cursor_peek(&s->cursor) == NULL) {
            cu__model_thread_gone(model, s->m);
            cu__trace_stream_free(&s->cursor, source);
            s->m = NULL;
            s->lost = 0;
        }
    }
}

static void merge_samples(void)
{
    pthread_mutex_lock(&samples_lock);
    for (unsigned i = 0; i < nsamples; i++) {
        const struct sample *sample = &samples[i];
        struct cu__names *names = cu__model_names(model);
        uint32_t stack = cu__names_stack(names, sample->frames, sample->n, sample->is_cut);
        stack = cu__names_of(names, stack, cu__model_entry(model, sample->g));
        cu__model_sample(model, sample->now_ns, sample->tid, sample->g, stack);
    }
    nsamples = 0;
    pthread_mutex_unlock(&samples_lock);
}

/* As malloc counts; nothing where another allocator does not tell. */
static void tell_heap(int64_t now_ns)
{
    if (now_ns >= told_heap_ns + COPPER_TRACE_HEAP_NS) {
        struct mallinfo2 info = mallinfo2();
        told_heap_ns = now_ns;
        cu__model_heap(model, info.uordblks + info.hblkhd);
    }
}

/* Everything that happened until just now. */
static void drain(struct heads *h)
{
    int64_t until = cu__now_ns() - COPPER_TRACE_BEHIND_NS;
    uint32_t n = cu__trace_streams();
    uint64_t unheard = cu__trace_unheard_take();
    cu__trace_give_chunks();
    if (unheard) {
        count_lost(unheard);
    }
    h->n = 0;
    for (uint32_t i = 0; i < n && i < COPPER_TRACE_STREAMS; i++) {
        struct cu__trace_stream *source = cu__trace_stream(i);
        struct stream *s = &streams[i];
        cu__trace_cursor_look(&s->cursor, source);
        if (s->cursor.chunk == 0 || (!s->m && !open_stream(i))) {
            continue;
        }
        tell_lost(s, source);
        h->at[h->n].s = s;
        h->n++;
        advance(h, h->n - 1, until);
    }
    tell_heap(until);
    merge(h, until);
    drained_ns = until;
    merge_samples();
    free_gone(until);
}

/* Everything that happened before the call. */
static void drain_all(struct heads *h)
{
    nanosleep(&(struct timespec){.tv_nsec = 2 * COPPER_TRACE_BEHIND_NS}, NULL);
    drain(h);
}

void cu__trace_cpu_sample(const struct cu__record *record, const uint64_t *frames, unsigned n,
                          bool is_cut)
{
    if (!cu__trace_is_on()) {
        return;
    }
    pthread_mutex_lock(&samples_lock);
    samples = samples ? samples : malloc(COPPER_TRACE_SAMPLES_MAX * sizeof(*samples));
    if (samples && nsamples < COPPER_TRACE_SAMPLES_MAX) {
        struct sample *sample = &samples[nsamples++];
        sample->now_ns = (int64_t)record->time_ns;
        sample->g = record->coroutine;
        sample->tid = record->tid;
        sample->n = n < COPPER_TRACE_DEPTH ? n : COPPER_TRACE_DEPTH;
        sample->is_cut = is_cut || n > COPPER_TRACE_DEPTH;
        memcpy(sample->frames, frames, sample->n * sizeof(*frames));
    }
    pthread_mutex_unlock(&samples_lock);
}

/* ---- who gets what; all called with the lock ------------------------------------------------- */

static void fail_client(struct cu__trace_client *c, int err)
{
    c->err = c->err ? c->err : err;
    c->state = CLIENT_DONE;
}

static void queue_blob(struct cu__trace_client *c, struct cu__blob *blob)
{
    unsigned size = sizeof(c->queue) / sizeof(c->queue[0]);
    if (c->count == size || c->bytes + blob->n > COPPER_TRACE_QUEUE_BYTES) {
        fail_client(c, -ENOMEM);
        return;
    }
    c->queue[(c->first + c->count++) % size] = share(blob);
    c->bytes += blob->n;
}

static void deliver(struct cu__blob *blob)
{
    for (struct cu__trace_client *c = clients; c; c = c->next) {
        if (c->state != CLIENT_GETS && c->state != CLIENT_LEAVES) {
            continue;
        }
        if (!c->sink) {
            queue_blob(c, blob);
        } else if (!c->err) {
            c->err = c->sink(c->arg, blob->bytes, blob->n);
        }
    }
}

static void drop_oldest(void)
{
    flight.bytes -= flight.ring[flight.first]->n;
    cu__blob_drop(flight.ring[flight.first]);
    flight.first = (flight.first + 1) % COPPER_FLIGHT_BLOBS;
    flight.count--;
}

/* One that reaches over the limit stays, so that no less is kept than was asked for; except for
 * bytes, which are a promise. */
static void keep_in_flight(struct cu__blob *blob)
{
    if (flight.keep_ns == 0 || !blob->is_whole) {
        return;
    }
    while (flight.count > 0 &&
           (flight.count == COPPER_FLIGHT_BLOBS || flight.bytes + blob->n > flight.max_bytes ||
            flight.ring[flight.first]->ended_ns < blob->ended_ns - flight.keep_ns)) {
        drop_oldest();
    }
    flight.ring[(flight.first + flight.count++) % COPPER_FLIGHT_BLOBS] = share(blob);
    flight.bytes += blob->n;
}

static void forget_flight(void)
{
    while (flight.count > 0) {
        drop_oldest();
    }
}

/* Gives what is kept to late(); without the lock meanwhile. */
static unsigned share_flight(struct cu__blob **blobs, unsigned max)
{
    unsigned n = flight.count < max ? flight.count : max;
    for (unsigned i = 0; i < n; i++) {
        blobs[i] = share(flight.ring[(flight.first + flight.count - n + i) % COPPER_FLIGHT_BLOBS]);
    }
    return n;
}

/* ---- generations ----------------------------------------------------------------------------- */

static void replace_names(void)
{
    struct cu__names *names = cu__model_names(model), old = *names;
    *names = (struct cu__names){.nused = 0};
    for (uint32_t i = 0; i < cu__trace_streams(); i++) {
        for (uint32_t k = 0; streams[i].stacks && k <= COPPER_TRACE_STACK_CACHE; k++) {
            streams[i].stacks[k] = cu__names_move(names, &old, streams[i].stacks[k]);
        }
    }
    cu__model_forget_births(model);
    cu__names_clear(&old);
}

static struct cu__blob *end_generation(int64_t now_ns)
{
    struct cu__blob *blob = calloc(1, sizeof(*blob));
    size_t n;
    unsigned char *bytes = cu__model_end(model, now_ns, is_with_all, &n);
    if (!blob || !bytes) {
        free(blob);
        free(bytes);
        return NULL;
    }
    atomic_store(&blob->references, 1);
    blob->bytes = bytes;
    blob->n = n;
    blob->began_ns = began_ns;
    blob->ended_ns = now_ns;
    blob->is_whole = is_with_all;
    if (cu__model_names(model)->stacks.nitems > COPPER_TRACE_NAMES_MAX) {
        replace_names();
    }
    return blob;
}

/* Called with the lock. */
static void begin_generation(int64_t now_ns)
{
    began_ns = now_ns;
    is_with_all = flight.keep_ns != 0 || !has_begun;
    has_begun = true;
    for (struct cu__trace_client *c = clients; c; c = c->next) {
        if (c->state == CLIENT_JOINS) {
            c->state = CLIENT_GETS;
            is_with_all = true;
        }
    }
    cu__model_begin(model, ++generation, now_ns);
    pthread_cond_broadcast(&changed);
}

/* Called with the lock. */
static void take_totals(void)
{
    struct cu__model_stats stats;
    cu__model_stats(model, &stats);
    totals.events = stats.applied;
    totals.mended = stats.mended;
    totals.dropped = stats.dropped;
}

/* Called with the lock, which is given back meanwhile. At the time up to which all is known: what
 * is written for the end of a generation must not come after what happens next. */
static void cut(uint64_t wanted)
{
    pthread_mutex_unlock(&lock);
    int64_t now_ns = drained_ns;
    struct cu__blob *blob = end_generation(now_ns);
    pthread_mutex_lock(&lock);
    totals.generations++;
    if (blob) {
        totals.bytes += blob->n;
        deliver(blob);
        keep_in_flight(blob);
    }
    for (struct cu__trace_client *c = clients; c; c = c->next) {
        if (!blob) {
            fail_client(c, -ENOMEM);
        } else if (c->state == CLIENT_LEAVES && c->is_seen) {
            c->state = CLIENT_DONE;
        }
    }
    cu__blob_drop(blob);
    cuts_done = wanted;
    take_totals();
    begin_generation(now_ns);
}

/* ---- the thread ------------------------------------------------------------------------------ */

static bool note_inspected(const struct cu_g_info *g, void *unused)
{
    (void)unused;
    cu__model_inspected(model, g);
    return true;
}

static int start_recording(void)
{
    cu_stacks_prepare();
    streams = calloc(COPPER_TRACE_STREAMS, sizeof(*streams));
    model = cu__model_new();
    if (!streams || !model) {
        return -ENOMEM;
    }
    int err = cu__trace_record_start();
    if (!err) {
        cu__model_procs(model, cu_maxprocs ? (uint64_t)cu_maxprocs() : 0);
        cu_inspect_each(note_inspected, NULL);
    }
    return err;
}

static void stop_recording(void)
{
    cu__trace_record_stop();
    cu__model_free(model);
    model = NULL;
    for (uint32_t i = 0; streams && i < COPPER_TRACE_STREAMS; i++) {
        free(streams[i].stacks);
    }
    free(streams);
    streams = NULL;
    pthread_mutex_lock(&samples_lock);
    free(samples);
    samples = NULL;
    nsamples = 0;
    pthread_mutex_unlock(&samples_lock);
    cu__trace_record_clear();
}

/* Called with the lock. */
static bool is_wanted(void)
{
    bool is = flight.keep_ns != 0;
    for (const struct cu__trace_client *c = clients; c; c = c->next) {
        is |= c->state != CLIENT_DONE;
    }
    return is;
}

/* Called with the lock. Whether somebody waits for a cut. */
static bool is_cut_wanted(void)
{
    bool is = cuts_wanted != cuts_done;
    for (struct cu__trace_client *c = clients; c; c = c->next) {
        c->is_seen |= c->state == CLIENT_LEAVES;
        is |= c->state == CLIENT_LEAVES || c->state == CLIENT_JOINS;
    }
    return is;
}

/* Called with the lock. */
static void wait_a_round(void)
{
    cu__timed_cond_wait(&asked, &lock, cu__now_ns() + COPPER_TRACE_ROUND_NS);
}

/* Called with the lock, which is given back meanwhile. */
static void look_for_delays(struct heads *heads)
{
    static struct cu__blob *blobs[COPPER_FLIGHT_BLOBS];
    int64_t g, delay_ns = cu__trace_delay_take(&g);
    if (delay_ns == 0 || !flight.late || flight.keep_ns == 0) {
        return;
    }
    uint64_t wanted = cuts_wanted;
    pthread_mutex_unlock(&lock);
    drain_all(heads); /* the end of the delay may have come after the last look */
    pthread_mutex_lock(&lock);
    cut(wanted);
    unsigned n = share_flight(blobs, COPPER_FLIGHT_BLOBS);
    cu__flight_late *late = flight.late;
    pthread_mutex_unlock(&lock);
    late(g, delay_ns, blobs, n);
    for (unsigned i = 0; i < n; i++) {
        cu__blob_drop(blobs[i]);
    }
    pthread_mutex_lock(&lock);
}

/* Called with the lock. */
static void record(struct heads *heads)
{
    uint32_t epoch = cu_modules_epoch_sig();
    has_begun = false;
    begin_generation(cu__now_ns());
    while (is_wanted()) {
        bool is_wanted_now = is_cut_wanted();
        uint64_t wanted = cuts_wanted;
        pthread_mutex_unlock(&lock);
        if (cu_modules_epoch_sig() != epoch) {
            epoch = cu_modules_epoch_sig();
            cu_stacks_prepare();
        }
        if (is_wanted_now) {
            drain_all(heads);
        } else {
            drain(heads);
        }
        pthread_mutex_lock(&lock);
        bool is_long = cu__now_ns() - began_ns >= COPPER_TRACE_GENERATION_NS ||
                       cu__model_bytes(model) >= COPPER_TRACE_GENERATION;
        if (is_wanted_now || is_long) {
            cut(wanted);
        }
        look_for_delays(heads);
        if (is_wanted() && !is_cut_wanted()) {
            wait_a_round();
        }
    }
}

static void *write_trace(void *unused)
{
    cu__own_thread_begin("copper-trace");
    struct heads *heads = malloc(sizeof(*heads));
    int err = heads ? start_recording() : -ENOMEM;
    pthread_mutex_lock(&lock);
    if (!err) {
        record(heads);
    }
    is_ending = true;
    flight.keep_ns = err ? 0 : flight.keep_ns;
    for (struct cu__trace_client *c = clients; c; c = c->next) {
        fail_client(c, err);
    }
    pthread_mutex_unlock(&lock);
    stop_recording();
    free(heads);
    pthread_mutex_lock(&lock);
    forget_flight();
    cuts_done = cuts_wanted;
    is_running = false;
    is_ending = false;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return unused;
}

/* ---- clients --------------------------------------------------------------------------------- */

static void init_conditions(void)
{
    cu__timed_cond_init(&asked);
    cu__timed_cond_init(&changed);
}

/* The child has neither the thread nor the clients; what they held stays as it is. */
static void forget_in_child(void)
{
    pthread_mutex_init(&lock, NULL);
    pthread_mutex_init(&samples_lock, NULL);
    init_conditions();
    for (struct cu__trace_client *c = clients; c; c = c->next) {
        c->state = CLIENT_DONE;
        c->err = -ECHILD;
    }
    clients = NULL;
    is_running = is_ending = false;
    model = NULL;
    streams = NULL;
    samples = NULL;
    nsamples = 0;
    memset(&flight, 0, sizeof(flight));
    memset(&totals, 0, sizeof(totals));
    cuts_done = cuts_wanted;
    cu__trace_record_forget();
}

static void set_up(void)
{
    init_conditions();
    pthread_atfork(NULL, NULL, forget_in_child);
}

/* Called with the lock. The thread runs, or will. */
static int start_thread(void)
{
    while (is_ending) {
        pthread_cond_wait(&changed, &lock);
    }
    if (is_running) {
        pthread_cond_signal(&asked);
        return 0;
    }
    int err = cu__own_thread_start(write_trace, NULL);
    is_running = err == 0;
    return err;
}

static void unlink_client(const struct cu__trace_client *c)
{
    struct cu__trace_client **at = &clients;
    while (*at && *at != c) {
        at = &(*at)->next;
    }
    if (*at) {
        *at = c->next;
    }
}

static void free_client(struct cu__trace_client *c)
{
    unsigned size = sizeof(c->queue) / sizeof(c->queue[0]);
    for (; c->count > 0; c->count--) {
        cu__blob_drop(c->queue[c->first]);
        c->first = (c->first + 1) % size;
    }
    free(c);
}

int cu__trace_join(cu__trace_sink *sink, void *arg, struct cu__trace_client **out)
{
    if (!cu__trace_can_record()) {
        return -ENOTSUP;
    }
    struct cu__trace_client *c = calloc(1, sizeof(*c));
    if (!c) {
        return -ENOMEM;
    }
    *c = (struct cu__trace_client){.sink = sink, .arg = arg};
    pthread_once(&set_up_once, set_up);
    pthread_mutex_lock(&lock);
    while (is_ending) {
        pthread_cond_wait(&changed, &lock);
    }
    c->next = clients;
    clients = c;
    int err = start_thread();
    while (!err && c->state == CLIENT_JOINS) {
        pthread_cond_wait(&changed, &lock);
    }
    err = err ? err : c->err;
    if (err) {
        unlink_client(c);
    }
    pthread_mutex_unlock(&lock);
    if (err) {
        free_client(c);
        return err;
    }
    *out = c;
    return 0;
}

int cu__trace_next(struct cu__trace_client *c, int64_t timeout_ns, struct cu__blob **out)
{
    int64_t until = cu__now_ns() + timeout_ns;
    int result = 0;
    pthread_mutex_lock(&lock);
    while (c->count == 0 && c->state != CLIENT_DONE && result == 0) {
        result = cu__timed_cond_wait(&changed, &lock, until);
    }
    if (c->count > 0 && !c->err) {
        *out = c->queue[c->first];
        c->first = (c->first + 1) % (sizeof(c->queue) / sizeof(c->queue[0]));
        c->count--;
        c->bytes -= (*out)->n;
        result = 1;
    } else {
        result = c->err ? c->err : c->state == CLIENT_DONE ? -EPIPE : 0;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int cu__trace_finish(struct cu__trace_client *c)
{
    pthread_mutex_lock(&lock);
    if (c->state == CLIENT_GETS) {
        c->state = CLIENT_LEAVES;
        pthread_cond_signal(&asked);
    }
    while (c->state != CLIENT_DONE) {
        pthread_cond_wait(&changed, &lock);
    }
    int err = c->err;
    pthread_mutex_unlock(&lock);
    return err;
}

void cu__trace_leave(struct cu__trace_client *c)
{
    pthread_mutex_lock(&lock);
    unlink_client(c);
    pthread_cond_signal(&asked);
    pthread_mutex_unlock(&lock);
    free_client(c);
}

int cu__flight_keep(int64_t keep_ns, size_t max_bytes)
{
    int err = 0;
    if (!cu__trace_can_record()) {
        return -ENOTSUP;
    }
    pthread_once(&set_up_once, set_up);
    pthread_mutex_lock(&lock);
    while (is_ending) {
        pthread_cond_wait(&changed, &lock);
    }
    bool was_on = flight.keep_ns != 0;
    flight.keep_ns = keep_ns;
    flight.max_bytes = max_bytes;
    if (keep_ns == 0) {
        forget_flight();
        pthread_cond_signal(&asked);
    } else if (!was_on) {
        cuts_wanted++; /* the generation under way need not mention everything */
        err = start_thread();
        flight.keep_ns = err ? 0 : keep_ns;
    }
    pthread_mutex_unlock(&lock);
    return err;
}

int cu__flight_take(struct cu__blob **blobs, unsigned max)
{
    pthread_once(&set_up_once, set_up);
    pthread_mutex_lock(&lock);
    uint64_t mine = ++cuts_wanted;
    pthread_cond_signal(&asked);
    while (flight.keep_ns && cuts_done < mine) {
        pthread_cond_wait(&changed, &lock);
    }
    int n = flight.keep_ns ? (int)share_flight(blobs, max) : -ENOENT;
    pthread_mutex_unlock(&lock);
    return n;
}

void cu__flight_on_late(cu__flight_late *late)
{
    pthread_mutex_lock(&lock);
    flight.late = late;
    pthread_mutex_unlock(&lock);
}

void cu__trace_totals(struct cu__trace_totals *out)
{
    pthread_mutex_lock(&lock);
    *out = totals;
    pthread_mutex_unlock(&lock);
}
