/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: chunks and streams of records; see trace_record.h. The hooks themselves are in
 * trace_hooks.c.
 */
#include "trace_record.h"
#include "pages.h"
#include "trace_hooks.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COPPER_BUFFER_MIN (INT64_C(256) << 10)
#define COPPER_BUFFER_MAX (INT64_C(64) << 30)
#define COPPER_DATA_BYTES ((uint32_t)sizeof(((struct cu__trace_chunk *)0)->data))

_Atomic uint32_t cu__trace_session;
_Atomic uint32_t cu__trace_noting;
static uint32_t last_session;
static bool is_attached;
static uint32_t nchunks = COPPER_TRACE_CHUNKS; /* constant once started */
static struct cu__trace_chunk *chunks;
static struct cu__trace_stream *streams;
static _Atomic uint32_t streams_used;
static _Atomic uint64_t unheard; /* events of threads that found no stream; not taken yet */
/* Free chunks: the first one's number + 1 below, a count of changes above, so that a chunk that
 * came back meanwhile is told. */
static _Atomic uint64_t free_chunks;
static _Atomic uint32_t fresh_chunks; /* those from here on were never used */
static _Atomic uint32_t chunks_in_use;
static _Atomic bool is_full;

__attribute__((tls_model("initial-exec"))) __thread struct cu__trace_own cu__trace_own;

/* ---- chunks ---------------------------------------------------------------------------------- */

static struct cu__trace_chunk *chunk_of(uint32_t number)
{
    return &chunks[number - 1];
}

/* The number + 1 of a chunk, 0: all are in use. */
static uint32_t take_chunk(void)
{
    uint64_t head = atomic_load(&free_chunks);
    uint32_t number;
    while ((number = (uint32_t)head) != 0) {
        uint64_t next = atomic_load_explicit(&chunk_of(number)->next, memory_order_relaxed);
        if (atomic_compare_exchange_weak(&free_chunks, &head, ((head >> 32) + 1) << 32 | next)) {
            break;
        }
    }
    if (number == 0) {
        uint32_t fresh = atomic_load_explicit(&fresh_chunks, memory_order_relaxed);
        do {
            if (fresh == nchunks) {
                return 0;
            }
        } while (!atomic_compare_exchange_weak(&fresh_chunks, &fresh, fresh + 1));
        number = fresh + 1;
    }
    struct cu__trace_chunk *chunk = chunk_of(number);
    atomic_store_explicit(&chunk->published, 0, memory_order_relaxed);
    atomic_store_explicit(&chunk->next, 0, memory_order_relaxed);
    atomic_fetch_add_explicit(&chunks_in_use, 1, memory_order_relaxed);
    return number;
}

static void give_chunk(uint32_t number)
{
    struct cu__trace_chunk *chunk = chunk_of(number);
    uint64_t head = atomic_load(&free_chunks);
    do {
        atomic_store_explicit(&chunk->next, (uint32_t)head, memory_order_relaxed);
    } while (!atomic_compare_exchange_weak(&free_chunks, &head, ((head >> 32) + 1) << 32 | number));
    if (atomic_fetch_sub(&chunks_in_use, 1) - 1 <= nchunks / 2) {
        atomic_store_explicit(&is_full, false, memory_order_relaxed);
    }
}

/* A chunk that was just read lies in the caches of the writer thread's processor, from where each
 * line would have to be called back, one by one, as the locked instructions of a switch wait for
 * stores before them. Left alone for a round it has gone from there. */
static uint32_t resting; /* the writer thread's: number + 1 of the first; 0: none */

static void rest_chunk(uint32_t number)
{
    atomic_store_explicit(&chunk_of(number)->next, resting, memory_order_relaxed);
    resting = number;
}

void cu__trace_give_chunks(void)
{
    while (resting) {
        uint32_t number = resting;
        resting = atomic_load_explicit(&chunk_of(number)->next, memory_order_relaxed);
        give_chunk(number);
    }
}

/* ---- streams --------------------------------------------------------------------------------- */

static struct cu__trace_stream *claim_free(void)
{
    uint32_t n = atomic_load(&streams_used);
    for (uint32_t i = 0; i < n; i++) {
        int32_t state = COPPER_STREAM_FREE;
        if (atomic_load_explicit(&streams[i].state, memory_order_relaxed) == state &&
            atomic_compare_exchange_strong(&streams[i].state, &state, COPPER_STREAM_LIVE)) {
            return &streams[i];
        }
    }
    return NULL;
}

/* One more free one, for whoever claims it first. False: there are as many as may be. */
static bool add_free(void)
{
    uint32_t n = atomic_load(&streams_used);
    do {
        if (n == COPPER_TRACE_STREAMS) {
            return false;
        }
    } while (!atomic_compare_exchange_weak(&streams_used, &n, n + 1));
    return true;
}

struct cu__trace_stream *cu__trace_join_stream(uint32_t session)
{
    struct cu__trace_stream *s = claim_free();
    while (!s && add_free()) {
        s = claim_free();
    }
    if (s) {
        s->chunk = 0;
        s->is_begun = false;
        s->at = s->end = NULL;
        atomic_store(&s->tid, (int32_t)syscall(SYS_gettid));
    } else {
        atomic_fetch_add_explicit(&unheard, 1, memory_order_relaxed);
    }
    cu__trace_own.stream = s;
    cu__trace_own.session = session;
    return s;
}

uint64_t cu__trace_unheard_take(void)
{
    return atomic_exchange_explicit(&unheard, 0, memory_order_relaxed);
}

static bool next_chunk(struct cu__trace_stream *s)
{
    if (atomic_load_explicit(&is_full, memory_order_relaxed)) {
        return false;
    }
    uint32_t number = take_chunk();
    if (number == 0) {
        atomic_store_explicit(&is_full, true, memory_order_relaxed);
        return false;
    }
    /* pairs with the load in cu__trace_cursor_look */
    atomic_store_explicit(s->chunk ? &chunk_of(s->chunk)->next : &s->first, number,
                          memory_order_release);
    s->chunk = number;
    s->at = chunk_of(number)->data;
    s->end = s->at + COPPER_DATA_BYTES;
    s->published = &chunk_of(number)->published;
    return true;
}

struct cu__trace_record *cu__trace_turn(struct cu__trace_stream *s)
{
    if (next_chunk(s)) {
        return (void *)s->at;
    }
    atomic_store_explicit(&s->lost, atomic_load_explicit(&s->lost, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    return NULL;
}

/* ---- start and stop -------------------------------------------------------------------------- */

static size_t chunks_bytes(void)
{
    return sizeof(struct cu__trace_chunk) * nchunks;
}
static const size_t streams_bytes = sizeof(struct cu__trace_stream) * COPPER_TRACE_STREAMS;

bool cu__trace_record_limit(int64_t bytes)
{
    if (bytes < COPPER_BUFFER_MIN || bytes > COPPER_BUFFER_MAX) {
        return false;
    }
    nchunks = (uint32_t)((uint64_t)bytes / sizeof(struct cu__trace_chunk));
    return true;
}

int cu__trace_record_start(void)
{
    if (!cu__trace_can_record()) {
        return -ENOTSUP;
    }
    chunks = chunks ? chunks : cu__pages_map(chunks_bytes());
    streams = streams ? streams : cu__pages_map(streams_bytes);
    if (!chunks || !streams) {
        return -ENOMEM;
    }
    last_session = last_session + 1 ? last_session + 1 : 1;
    atomic_store(&cu__trace_session, last_session);
    int err = is_attached ? 0 : cu__trace_hooks_attach();
    is_attached = err == 0;
    if (err) {
        atomic_store(&cu__trace_session, 0);
    }
    return err;
}

void cu__trace_record_stop(void)
{
    atomic_store(&cu__trace_session, 0);
    if (is_attached) {
        cu__trace_hooks_detach(); /* waits until no hook runs */
        is_attached = false;
    }
    while (atomic_load(&cu__trace_noting)) {
        sched_yield();
    }
}

void cu__trace_record_clear(void)
{
    cu__pages_empty(chunks, chunks_bytes());
    cu__pages_empty(streams, streams_bytes);
    atomic_store(&streams_used, 0);
    atomic_store(&unheard, 0);
    resting = 0;
    atomic_store(&free_chunks, 0);
    atomic_store(&fresh_chunks, 0);
    atomic_store(&chunks_in_use, 0);
    atomic_store(&is_full, false);
}

void cu__trace_record_forget(void)
{
    /* the table stays attached, for the runtime may not have put its own locks right yet */
    atomic_store(&cu__trace_session, 0);
    atomic_store(&cu__trace_noting, 0);
    cu__trace_record_clear();
}

uint64_t cu__trace_record_bytes(void)
{
    return (uint64_t)atomic_load_explicit(&chunks_in_use, memory_order_relaxed) *
           sizeof(struct cu__trace_chunk);
}

/* ---- reading --------------------------------------------------------------------------------- */

uint32_t cu__trace_streams(void)
{
    return atomic_load(&streams_used);
}

struct cu__trace_stream *cu__trace_stream(uint32_t i)
{
    return &streams[i];
}

void cu__trace_cursor_look(struct cu__trace_cursor *c, const struct cu__trace_stream *s)
{
    if (c->chunk == 0) {
        c->chunk = atomic_load_explicit(&s->first, memory_order_acquire);
        c->at = 0;
        c->data = c->chunk ? chunk_of(c->chunk)->data : NULL;
    }
    c->end =
        c->chunk ? atomic_load_explicit(&chunk_of(c->chunk)->published, memory_order_acquire) : 0;
}

/* From a chunk that is read to its end to the next one. */
const struct cu__trace_record *cu__trace_cursor_turn(struct cu__trace_cursor *c)
{
    while (c->chunk && c->at == c->end) {
        struct cu__trace_chunk *chunk = chunk_of(c->chunk);
        uint32_t next = atomic_load_explicit(&chunk->next, memory_order_acquire);
        if (next == 0) {
            return NULL;
        }
        /* whoever saw the next chunk sees all of this one */
        c->end = atomic_load_explicit(&chunk->published, memory_order_acquire);
        if (c->at < c->end) {
            break;
        }
        rest_chunk(c->chunk);
        c->chunk = next;
        c->at = 0;
        c->data = chunk_of(next)->data;
        c->end = atomic_load_explicit(&chunk_of(next)->published, memory_order_acquire);
        if (c->end == 0) {
            return NULL;
        }
    }
    return c->chunk ? (const void *)(c->data + c->at) : NULL;
}

void cu__trace_stream_free(struct cu__trace_cursor *c, struct cu__trace_stream *s)
{
    if (c->chunk) {
        give_chunk(c->chunk);
    }
    *c = (struct cu__trace_cursor){.chunk = 0};
    atomic_store(&s->first, 0);
    atomic_store(&s->lost, 0);
    memset(s->known, 0, sizeof(s->known));
    memset(s->labelled, 0, sizeof(s->labelled));
    memset(s->memos, 0, sizeof(s->memos));
    atomic_store(&s->state, COPPER_STREAM_FREE);
}
