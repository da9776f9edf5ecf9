/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the way of an event from the hook to the writer thread: a chain of chunks for each
 * thread.
 *
 * Design. A hook appends a small fixed record to its own thread's chunk and publishes it by one
 * store. Nothing of the trace format is known here: no sequence numbers, statuses or generations,
 * no critical section. The writer merges the streams by time and does all of that alone. That is
 * exact because of when things happen: an event's time is taken before the coroutine it is about is
 * given to anybody else, and the record is published before that too. So whatever caused an event
 * with a time <= T was published before T, and is seen by who looks after T.
 *
 * Chunks and streams lie in address space reserved when the first trace starts, touched as needed
 * and never unmapped. A full chunk is exchanged for a free one without a lock. When all are full,
 * recording stops until half of them are free again; what was lost is counted, the writer mends
 * the states, and a log line in the trace says where.
 *
 * Stacks are walked in the hook, and written once for each thread and distinct stack.
 *
 * Concurrency: a stream is written by its thread and read by the writer thread. Streams are handed
 * out by compare-and-swap and taken back by the writer when the thread is gone.
 */
#ifndef COPPER_TRACE_RECORD_H
#define COPPER_TRACE_RECORD_H

#include "runtime_weak.h"

#include <copper/stacks.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define COPPER_TRACE_CHUNK_BYTES (64u << 10)
#define COPPER_TRACE_CHUNKS      4096u /* unless told otherwise. 256 MiB: seconds of a busy program */
#define COPPER_TRACE_STREAMS     4096u /* threads that had an event, and live */
#define COPPER_TRACE_STACK_CACHE                                                                   \
    1024u                           /* distinct stacks that a thread remembers; a power of two     \
                                     */
#define COPPER_TRACE_DEPTH    100u  /* frames of a stack; the format allows 128 */
#define COPPER_TRACE_TEXT_MAX 1024u /* bytes of a string; the format's limit */

/* Kind, number of argument words that follow the header. One list, so that sizes are known. */
#define COPPER_TRACE_KINDS(X)                                                                      \
    X(CREATED) /* parent, site */                                                                  \
    X(READY)   /* [by] when the stream begins with it */                                           \
    X(RUNNING) /* [entry, site] when it never ran */                                               \
    X(PARKED)                                                                                      \
    X(YIELDED)                                                                                     \
    X(EXITED)                                                                                      \
    X(SYSCALL_BEGIN)                                                                               \
    X(SYSCALL_END)                                                                                 \
    X(HANDOFF) /* tid */                                                                           \
    X(PREEMPTED)                                                                                   \
    X(P_STARTED)                                                                                   \
    X(P_STOPPED)                                                                                   \
    X(THREAD_ENDED)                                                                                \
    X(PROCS)        /* how many P there are from now on */                                         \
    X(LABELS)       /* set: those of g from now on */                                              \
    X(TASK_BEGIN)   /* task, parent, length, name */                                               \
    X(TASK_END)     /* task */                                                                     \
    X(REGION_BEGIN) /* task, length, name */                                                       \
    X(REGION_END)   /* task, length, name */                                                       \
    X(LOG)          /* task, lengths, key and value */                                             \
    X(STACK)        /* frames: stack number `stack` of this stream from now on */

enum cu__trace_kind {
#define COPPER_TRACE_ENUM(name) COPPER_TRACE_##name,
    COPPER_TRACE_KINDS(COPPER_TRACE_ENUM)
#undef COPPER_TRACE_ENUM
        COPPER_TRACE_KIND_COUNT
};

struct cu__trace_record {
    int64_t now_ns;
    int64_t g;
    uint8_t kind;
    uint8_t reason; /* PARKED: enum cu_wait_reason. STACK: 1: it does not reach the end */
    uint16_t stack; /* of this stream, 0: none */
    int16_t p;      /* -1: none */
    uint16_t words; /* 8 bytes each, with the header */
    uint64_t args[];
};
#define COPPER_TRACE_HEAD_WORDS 3u
_Static_assert(sizeof(struct cu__trace_record) == 8 * COPPER_TRACE_HEAD_WORDS, "packed by hand");

struct cu__trace_chunk {
    _Atomic uint32_t published; /* writer: the stream's thread; bytes in data */
    _Atomic uint32_t next;      /* number + 1 of the chunk that follows; 0: none yet. In the free
                                 * list: the next free one */
    unsigned char data[COPPER_TRACE_CHUNK_BYTES - 8];
};

/* Where the way of a stack is remembered from when it was met for the second time. */
struct cu__trace_memo {
    uint64_t hash;   /* of the stack that was last here; 0: none */
    uint16_t number; /* its number in the stream, while known[number - 1] is hash */
    struct cu_walk_memo walk;
};
/* Two for each place, so that two stacks that end in the same one do not keep pushing each other
 * out. */
struct cu__trace_memos {
    struct cu__trace_memo ways[2];
    uint8_t newest; /* the way that was used last */
};
#define COPPER_TRACE_MEMOS 64u /* a power of two */

enum { COPPER_STREAM_FREE, COPPER_STREAM_LIVE };

struct cu__trace_stream {
    _Atomic int32_t state;
    _Atomic int32_t tid;
    _Atomic uint64_t lost;                    /* writer: its thread; records that found no room */
    _Atomic uint32_t first;                   /* number + 1 of the first chunk; 0: not yet */
    uint32_t chunk;                           /* its thread: number + 1 of the one being filled */
    bool is_begun;                            /* its thread: it has a record of an event */
    unsigned char *at, *end;                  /* its thread: the room that is left in it */
    _Atomic uint32_t *published;              /* its thread: of that chunk */
    uint64_t known[COPPER_TRACE_STACK_CACHE]; /* its thread: hash of stack number i + 1 */
    struct {
        int64_t g;
        const void *labels;
    } labelled[64];                                   /* its thread: what was told of whom last */
    struct cu__trace_memos memos[COPPER_TRACE_MEMOS]; /* its thread: by where stacks end */
};

/* How much memory records may take, from COPPER_TRACE_BUFFER; before the first start. False: too
 * little or too much. */
bool cu__trace_record_limit(int64_t bytes);
/* Is there a runtime that can be listened to? It need not have started. */
bool cu__trace_can_record(void);
/* Reserves memory and makes hooks record. 0, -ENOMEM, or what cu_hooks_attach says; -ENOTSUP: there
 * is no runtime in this process. */
int cu__trace_record_start(void);
/* Stops: when it returns nobody records. What was recorded can still be read. */
void cu__trace_record_stop(void);
/* Gives the memory back. After it nothing can be read. */
void cu__trace_record_clear(void);
/* In a forked child: nothing is recorded; the threads that wrote are gone. */
void cu__trace_record_forget(void);

/* 0 while nothing is recorded. Read by the API for tasks and the collector, too. */
extern _Atomic uint32_t cu__trace_session;
static inline bool cu__trace_is_on(void)
{
    return atomic_load_explicit(&cu__trace_session, memory_order_relaxed) != 0;
}

/* A delay from ready to running above this is noted, ns; 0: none is. */
extern _Atomic int64_t cu__trace_delay_limit_ns;
/* The longest delay above it since the last call, 0: none. *g: whose. */
int64_t cu__trace_delay_take(int64_t *g);

/* Appends a record of the calling coroutine with arguments and text, from any ordinary code. A
 * plain thread's is dropped, as the format has no place for it. */
struct cu__trace_text {
    const char *bytes;
    size_t n;
};
/* Dropped while nothing is recorded. */
void cu__trace_note(enum cu__trace_kind kind, const uint64_t *args, unsigned nargs,
                    const struct cu__trace_text *texts, unsigned ntexts);

/* ---- for the writer thread ------------------------------------------------------------------- */

/* Streams at and above it were never used. */
uint32_t cu__trace_streams(void);
struct cu__trace_stream *cu__trace_stream(uint32_t i);
/* How many events found no stream since the last call: there were more threads. */
uint64_t cu__trace_unheard_take(void);

/* Reads one stream. All zero: from its beginning. */
struct cu__trace_cursor {
    const unsigned char *data; /* of the chunk */
    uint32_t chunk;            /* number + 1; 0: not begun */
    uint32_t at, end;
};
/* Looks what is there now. */
void cu__trace_cursor_look(struct cu__trace_cursor *c, const struct cu__trace_stream *s);
/* The next record seen by the last look, NULL: none. Stays valid until cu__trace_cursor_drop. */
const struct cu__trace_record *cu__trace_cursor_turn(struct cu__trace_cursor *c);
static inline const struct cu__trace_record *cu__trace_cursor_peek(struct cu__trace_cursor *c)
{
    return c->at != c->end ? (const void *)(c->data + c->at) : cu__trace_cursor_turn(c);
}
static inline void cu__trace_cursor_step(struct cu__trace_cursor *c,
                                         const struct cu__trace_record *record)
{
    c->at += record->words * 8u;
}
/* Gives back the chunks that were read to their ends: once a round, before it looks. */
void cu__trace_give_chunks(void);
/* The stream's thread is gone and all is read: gives its chunk back and makes the stream free. */
void cu__trace_stream_free(struct cu__trace_cursor *c, struct cu__trace_stream *s);
/* Bytes of chunks in use. */
uint64_t cu__trace_record_bytes(void);

#endif
