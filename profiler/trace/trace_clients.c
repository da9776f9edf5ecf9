/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see trace_clients.h.
 *
 * Concurrency: everything here has the lock. After fork the child has neither the thread nor the
 * clients; what they held stays as it is.
 */
#include "trace_clients.h"

#include "cpu_int.h"
#include "timed_cond.h"
#include "trace_model.h"
#include "trace_record.h"
#include "trace_samples.h"
#include "trace_writer.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define ROUND_NS    10000000
#define QUEUE_BYTES (256u << 20) /* of a client that does not fetch */
#define QUEUE_BLOBS 64u

enum client_state { CLIENT_JOINS, CLIENT_GETS, CLIENT_LEAVES, CLIENT_DONE };

struct cu__trace_client {
    struct cu__trace_client *next;
    cu__trace_sink *sink;
    void *arg;
    enum client_state state;
    bool is_seen; /* leaves: the round that began after it said so is the last one */
    int err;
    struct cu__blob *queue[QUEUE_BLOBS]; /* a ring */
    unsigned first, count;
    size_t bytes;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t asked_for; /* the writer waits */
static pthread_cond_t changed;   /* clients wait */
static pthread_once_t set_up_once = PTHREAD_ONCE_INIT;

static struct cu__trace_client *clients;
static bool is_running, is_ending;
static uint64_t cuts_wanted, cuts_done;
static struct cu__trace_totals totals;
static struct cu__blob_ring flight;
static cu__flight_late *on_late;
static int flight_err; /* why the flight recorder ended by itself */

/* ---- one client; all called with the lock ---------------------------------------------------- */

static void fail_client(struct cu__trace_client *c, int err)
{
    c->err = c->err ? c->err : err;
    c->state = CLIENT_DONE;
}

static void queue_blob(struct cu__trace_client *c, struct cu__blob *blob)
{
    if (c->count == QUEUE_BLOBS || c->bytes + blob->n > QUEUE_BYTES) {
        fail_client(c, -ENOMEM);
        return;
    }
    c->queue[(c->first + c->count++) % QUEUE_BLOBS] = cu__blob_share(blob);
    c->bytes += blob->n;
}

/* Its oldest one, which is not empty; the reference goes to the caller. */
static struct cu__blob *unqueue_blob(struct cu__trace_client *c)
{
    struct cu__blob *blob = c->queue[c->first];
    c->first = (c->first + 1) % QUEUE_BLOBS;
    c->count--;
    c->bytes -= blob->n;
    return blob;
}

static void deliver(struct cu__trace_client *c, struct cu__blob *blob)
{
    if (c->state != CLIENT_GETS && c->state != CLIENT_LEAVES) {
        return;
    }
    if (!c->sink) {
        queue_blob(c, blob);
    } else if (!c->err) {
        c->err = c->sink(c->arg, blob->bytes, blob->n);
    }
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
    while (c->count > 0) {
        cu__blob_drop(unqueue_blob(c));
    }
    free(c);
}

/* ---- for the writer's thread ----------------------------------------------------------------- */

/* lock */
static bool is_wanted(void)
{
    bool is = flight.keep_ns != 0;
    for (const struct cu__trace_client *c = clients; c; c = c->next) {
        is |= c->state != CLIENT_DONE;
    }
    return is;
}

/* lock */
static bool is_cut_wanted(void)
{
    bool is = cuts_wanted != cuts_done;
    for (struct cu__trace_client *c = clients; c; c = c->next) {
        c->is_seen |= c->state == CLIENT_LEAVES;
        is |= c->state == CLIENT_LEAVES || c->state == CLIENT_JOINS;
    }
    return is;
}

bool cu__clients_want(struct cu__trace_asked *asked)
{
    pthread_mutex_lock(&lock);
    asked->is_cut = is_cut_wanted();
    asked->cuts = cuts_wanted;
    is_ending = !is_wanted();
    bool is = !is_ending;
    pthread_mutex_unlock(&lock);
    return is;
}

void cu__clients_wait(void)
{
    pthread_mutex_lock(&lock);
    if (is_wanted() && !is_cut_wanted()) {
        cu__timed_cond_wait(&asked_for, &lock, cu__now_ns() + ROUND_NS);
    }
    pthread_mutex_unlock(&lock);
}

bool cu__clients_begin(void)
{
    pthread_mutex_lock(&lock);
    bool is_with_all = flight.keep_ns != 0;
    for (struct cu__trace_client *c = clients; c; c = c->next) {
        if (c->state == CLIENT_JOINS) {
            c->state = CLIENT_GETS;
            is_with_all = true;
        }
    }
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return is_with_all;
}

/* lock */
static void count_generation(const struct cu__blob *blob, const struct cu__model_stats *stats)
{
    totals.generations++;
    totals.bytes += blob ? blob->n : 0;
    totals.events = stats->applied;
    totals.mended = stats->mended;
    totals.dropped = stats->dropped;
}

void cu__clients_deliver(struct cu__blob *blob, const struct cu__trace_asked *asked,
                         const struct cu__model_stats *stats)
{
    pthread_mutex_lock(&lock);
    count_generation(blob, stats);
    for (struct cu__trace_client *c = clients; c; c = c->next) {
        if (!blob) {
            fail_client(c, -ENOMEM);
            continue;
        }
        deliver(c, blob);
        if (c->state == CLIENT_LEAVES && c->is_seen) {
            c->state = CLIENT_DONE;
        }
    }
    if (blob) {
        cu__blob_ring_keep(&flight, blob);
    }
    cuts_done = asked->cuts;
    pthread_mutex_unlock(&lock);
}

void cu__clients_lost(uint64_t records)
{
    pthread_mutex_lock(&lock);
    totals.lost += records;
    pthread_mutex_unlock(&lock);
}

bool cu__clients_want_late(struct cu__trace_asked *asked)
{
    pthread_mutex_lock(&lock);
    bool is = on_late && flight.keep_ns != 0;
    *asked = (struct cu__trace_asked){.is_cut = true, .cuts = cuts_wanted};
    pthread_mutex_unlock(&lock);
    return is;
}

void cu__clients_late(int64_t g, int64_t delay_ns)
{
    static struct cu__blob *blobs[COPPER_FLIGHT_BLOBS]; /* the thread's */
    pthread_mutex_lock(&lock);
    unsigned n = cu__blob_ring_share(&flight, blobs, COPPER_FLIGHT_BLOBS);
    cu__flight_late *late = on_late;
    pthread_mutex_unlock(&lock);
    late(g, delay_ns, blobs, n);
    for (unsigned i = 0; i < n; i++) {
        cu__blob_drop(blobs[i]);
    }
}

void cu__clients_fail(int err)
{
    pthread_mutex_lock(&lock);
    is_ending = true;
    flight.keep_ns = 0;
    flight_err = err;
    for (struct cu__trace_client *c = clients; c; c = c->next) {
        fail_client(c, err);
    }
    pthread_mutex_unlock(&lock);
}

void cu__clients_ended(void)
{
    pthread_mutex_lock(&lock);
    cu__blob_ring_clear(&flight);
    cuts_done = cuts_wanted;
    is_running = false;
    is_ending = false;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* ---- what clients call ----------------------------------------------------------------------- */

static void init_conditions(void)
{
    cu__timed_cond_init(&asked_for);
    cu__timed_cond_init(&changed);
}

static void forget_in_child(void)
{
    pthread_mutex_init(&lock, NULL);
    init_conditions();
    for (struct cu__trace_client *c = clients; c; c = c->next) {
        c->state = CLIENT_DONE;
        c->err = -ECHILD;
    }
    clients = NULL;
    is_running = is_ending = false;
    memset(&flight, 0, sizeof(flight));
    on_late = NULL;
    memset(&totals, 0, sizeof(totals));
    cuts_done = cuts_wanted;
    cu__write_trace_forget();
    cu__trace_samples_forget();
    cu__trace_record_forget();
}

static void set_up(void)
{
    init_conditions();
    pthread_atfork(NULL, NULL, forget_in_child);
}

/* lock. The thread runs, or will. */
static int start_thread(void)
{
    while (is_ending) {
        pthread_cond_wait(&changed, &lock);
    }
    if (is_running) {
        pthread_cond_signal(&asked_for);
        return 0;
    }
    int err = cu__own_thread_start(cu__write_trace, NULL);
    is_running = err == 0;
    return err;
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
        *out = unqueue_blob(c);
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
        pthread_cond_signal(&asked_for);
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
    pthread_cond_signal(&asked_for);
    pthread_mutex_unlock(&lock);
    free_client(c);
}

/* lock. The generation under way need not mention everything: from the next one on. */
static int flight_begin(int64_t keep_ns, bool waits)
{
    uint64_t mine = ++cuts_wanted;
    int err = start_thread();
    flight.keep_ns = err ? 0 : keep_ns;
    flight_err = err;
    while (waits && flight.keep_ns && cuts_done < mine) {
        pthread_cond_wait(&changed, &lock);
    }
    return flight_err;
}

int cu__flight_keep(int64_t keep_ns, size_t max_bytes, bool waits)
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
    flight.max_bytes = max_bytes;
    if (keep_ns == 0) {
        flight.keep_ns = 0;
        cu__blob_ring_clear(&flight);
        pthread_cond_signal(&asked_for);
    } else if (flight.keep_ns) {
        flight.keep_ns = keep_ns;
    } else {
        err = flight_begin(keep_ns, waits);
    }
    pthread_mutex_unlock(&lock);
    return err;
}

int cu__flight_take(struct cu__blob **blobs, unsigned max)
{
    pthread_once(&set_up_once, set_up);
    pthread_mutex_lock(&lock);
    uint64_t mine = ++cuts_wanted;
    pthread_cond_signal(&asked_for);
    while (flight.keep_ns && cuts_done < mine) {
        pthread_cond_wait(&changed, &lock);
    }
    int n = flight.keep_ns ? (int)cu__blob_ring_share(&flight, blobs, max) : -ENOENT;
    pthread_mutex_unlock(&lock);
    return n;
}

void cu__flight_on_late(cu__flight_late *late)
{
    pthread_mutex_lock(&lock);
    on_late = late;
    pthread_mutex_unlock(&lock);
}

void cu__trace_totals(struct cu__trace_totals *out)
{
    pthread_mutex_lock(&lock);
    *out = totals;
    out->lost += cu__trace_samples_lost();
    pthread_mutex_unlock(&lock);
}
