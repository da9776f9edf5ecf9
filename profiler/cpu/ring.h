/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the way of a sample out of the signal handler: a ring of variable-size records, one ring
 * for each sampled thread.
 *
 * Design. One writer (the handler on its thread), one reader (the collector). Offsets only grow; a
 * record never straddles the end of the buffer, the gap before the end is a record of its own kind.
 * A writer that finds its ring empty and past COPPER_RING_RESTART goes back to the first byte, so
 * that a ring that is drained in time keeps few pages resident.
 *
 *     record:  | struct cu__record | frames, 8 bytes each | copied stack bytes |
 *
 * A full ring refuses: the handler counts the drop. Nothing waits.
 *
 * Signal safety: the _sig half writes memory that was mapped beforehand, and nothing else.
 */
#ifndef COPPER_RING_H
#define COPPER_RING_H

#include <copper/stacks.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COPPER_RING_BYTES   (64u << 10) /* a power of two */
#define COPPER_RING_RESTART (24u << 10) /* see the design note */
#define COPPER_THREAD_NAME  16          /* bytes of a thread's name, as the kernel has it */

enum cu__record_kind {
    COPPER_RECORD_PAD,    /* nothing up to the end of the buffer; only size and kind are there */
    COPPER_RECORD_SAMPLE,
};

enum cu__record_weight { /* see cpu_int.h */
    COPPER_WEIGHT_CLOCK, /* weight_ns counts */
    COPPER_WEIGHT_TICK,  /* taken tick by tick: weight_ns is nominal */
    COPPER_WEIGHT_USER,  /* a part of the user level of threads with perf events */
};

struct cu__record {
    uint32_t size; /* with frames and copy, a multiple of 8 */
    uint8_t kind;
    uint8_t end;   /* enum cu_walk_end: how the walk in the handler ended */
    uint8_t here;  /* enum cu_here_kind */
    bool is_call_site;
    uint8_t weight; /* enum cu__record_weight */
    uint32_t epoch; /* of the modules, when the sample was taken */
    int32_t tid;
    uint32_t nframes;
    uint32_t ncopy;      /* bytes of stack, 0: none */
    uint64_t copy_at;    /* where they were */
    uint64_t time_ns;    /* monotonic */
    uint64_t weight_ns;  /* CPU time this sample stands for */
    uint64_t span_ns;    /* by tick: the thread's CPU time since its tick before; 0: the first */
    int64_t coroutine;   /* id, 0: none */
    const void *labels;  /* struct cu_labels of the coroutine or the thread */
    struct cu_regs regs; /* where the walk stopped; valid with a copy */
    char thread_name[COPPER_THREAD_NAME]; /* "" unless here is a plain thread */
    cu_frame frames[];
};

struct cu__ring {
    _Atomic uint64_t written; /* owner: the writer */
    _Atomic uint64_t read;    /* owner: the reader */
    unsigned char *bytes;     /* COPPER_RING_BYTES of them, 8-aligned */
};

/* Room for a record of at least `need` bytes (a multiple of 8, at most a quarter of the ring); *room
 * gets how large it may become. NULL: full. */
struct cu__record *cu__ring_reserve_sig(struct cu__ring *ring, size_t need, size_t *room);
/* Publishes the record last reserved, whose size is set. */
void cu__ring_commit_sig(struct cu__ring *ring, const struct cu__record *record);

/* The oldest record not consumed yet, NULL: none. */
const struct cu__record *cu__ring_peek(struct cu__ring *ring);
void cu__ring_consume(struct cu__ring *ring, const struct cu__record *record);
/* Bytes that wait to be consumed, gaps included. By the reader. */
uint32_t cu__ring_waiting(const struct cu__ring *ring);
/* Whether all that was written has been consumed. From any thread: consumes nothing itself. */
bool cu__ring_is_empty(const struct cu__ring *ring);

/* The stack bytes of a record. */
static inline const void *cu__record_copy(const struct cu__record *record)
{
    return record->frames + record->nframes;
}

#endif
