/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: bytes of the Go execution trace format, version 2 ("go 1.22 trace"): varints, batches,
 * events, the string table of a generation. Knows nothing of what events mean.
 *
 * The version is the oldest of the second format: every `go tool trace` since 1.22 reads it.
 *
 * Concurrency: one thread at a time. A failed allocation is sticky: is_failed.
 */
#ifndef COPPER_TRACE_WIRE_H
#define COPPER_TRACE_WIRE_H

#include "interner.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COPPER_WIRE_HEADER       "go 1.22 trace\0\0\0"
#define COPPER_WIRE_HEADER_BYTES 16u
#define COPPER_WIRE_BATCH_MAX    65536u
#define COPPER_WIRE_TEXT_MAX     1024u
#define COPPER_WIRE_FRAMES_MAX   128u
#define COPPER_WIRE_NO_THREAD    UINT64_MAX
#define COPPER_WIRE_VARINT_MAX   10u
#define COPPER_WIRE_ARGS_MAX     6u
#define COPPER_WIRE_EVENT_MAX    (1 + (1 + COPPER_WIRE_ARGS_MAX) * COPPER_WIRE_VARINT_MAX)
/* Units of time a second. A power of two of nanoseconds keeps files small; it divides 10^9, so that
 * a reader's sums are exact. Short enough that a coroutine that wakes another and stops does so at
 * two times: that takes a reading of the clock, some 20 ns. */
#define COPPER_WIRE_FREQUENCY 62500000u
#define COPPER_WIRE_UNIT_NS   16u

enum cu__wire_type {
    COPPER_WIRE_BATCH = 1,
    COPPER_WIRE_STACKS = 2,
    COPPER_WIRE_STACK = 3,
    COPPER_WIRE_STRINGS = 4,
    COPPER_WIRE_STRING = 5,
    COPPER_WIRE_CPU_SAMPLES = 6,
    COPPER_WIRE_CPU_SAMPLE = 7,
    COPPER_WIRE_FREQ = 8,
    COPPER_WIRE_PROCS_CHANGE = 9,
    COPPER_WIRE_PROC_START = 10,
    COPPER_WIRE_PROC_STOP = 11,
    COPPER_WIRE_PROC_STEAL = 12,
    COPPER_WIRE_PROC_STATUS = 13,
    COPPER_WIRE_GO_CREATE = 14,
    COPPER_WIRE_GO_START = 16,
    COPPER_WIRE_GO_DESTROY = 17,
    COPPER_WIRE_GO_STOP = 19,
    COPPER_WIRE_GO_BLOCK = 20,
    COPPER_WIRE_GO_UNBLOCK = 21,
    COPPER_WIRE_GO_SYSCALL_BEGIN = 22,
    COPPER_WIRE_GO_SYSCALL_END = 23,
    COPPER_WIRE_GO_SYSCALL_END_BLOCKED = 24,
    COPPER_WIRE_GO_STATUS = 25,
    COPPER_WIRE_HEAP_ALLOC = 37,
    COPPER_WIRE_GO_LABEL = 39,
    COPPER_WIRE_TASK_BEGIN = 40,
    COPPER_WIRE_TASK_END = 41,
    COPPER_WIRE_REGION_BEGIN = 42,
    COPPER_WIRE_REGION_END = 43,
    COPPER_WIRE_LOG = 44,
};

/* The states in GO_STATUS and PROC_STATUS; NONE: not there, never written. */
enum cu__wire_g {
    COPPER_WIRE_G_NONE,
    COPPER_WIRE_G_RUNNABLE,
    COPPER_WIRE_G_RUNNING,
    COPPER_WIRE_G_SYSCALL,
    COPPER_WIRE_G_WAITING,
    COPPER_WIRE_G_COUNT
};
enum cu__wire_p {
    COPPER_WIRE_P_NONE,
    COPPER_WIRE_P_RUNNING,
    COPPER_WIRE_P_IDLE,
    COPPER_WIRE_P_SYSCALL
};

/* The bytes of a generation, batch after batch. */
struct cu__wire {
    unsigned char *bytes; /* owned: pages.h */
    size_t n, cap;
    uint64_t generation;
    struct cu__interner strings; /* number + 1 is the id; cleared with the generation */
    bool is_failed;
};

/* A batch being filled: the events of one thread, or a table. */
struct cu__wire_batch {
    uint64_t thread;
    uint64_t began, last; /* units */
    uint32_t n;
    unsigned char payload[COPPER_WIRE_BATCH_MAX];
};

void cu__wire_begin(struct cu__wire *w, uint64_t generation, int64_t now_ns);
/* An event at now_ns, or, should that be earlier, at the time of the event before it. At most
 * COPPER_WIRE_ARGS_MAX arguments. */
static inline void cu__wire_event(struct cu__wire *w, struct cu__wire_batch *b, int64_t now_ns,
                                  enum cu__wire_type type, const uint64_t *args, unsigned nargs);
/* An entry of a table, without a time. The batch begins with `marker`. */
void cu__wire_entry(struct cu__wire *w, struct cu__wire_batch *b, enum cu__wire_type marker,
                    int64_t now_ns, const void *entry, size_t n);
void cu__wire_flush(struct cu__wire *w, struct cu__wire_batch *b);
/* The id of a text in this generation; it is cut to what the format allows. 0: the empty one. */
uint64_t cu__wire_string(struct cu__wire *w, const char *text, size_t n);
/* Writes the strings of the generation. */
void cu__wire_strings(struct cu__wire *w, struct cu__wire_batch *b, int64_t now_ns);
/* Gives up the bytes, *n of them, for the caller to unmap. NULL: an allocation failed. */
unsigned char *cu__wire_take(struct cu__wire *w, size_t *n);
void cu__wire_clear(struct cu__wire *w);

/* Unsigned LEB128. At most 10 bytes; returns their number. */
static inline size_t cu__varint(unsigned char *to, uint64_t value)
{
    size_t n = 0;
    for (; value >= 0x80; value >>= 7) {
        to[n++] = (unsigned char)(value | 0x80);
    }
    to[n++] = (unsigned char)value;
    return n;
}

static inline uint64_t cu__wire_time(int64_t now_ns)
{
    return (uint64_t)now_ns / COPPER_WIRE_UNIT_NS;
}

/* Makes room for an event at this time: a new batch. */
void cu__wire_turn(struct cu__wire *w, struct cu__wire_batch *b, uint64_t time);

/* In line, for most are of two or three arguments that the caller knows, and take a byte each. */
static inline void cu__wire_event(struct cu__wire *w, struct cu__wire_batch *b, int64_t now_ns,
                                  enum cu__wire_type type, const uint64_t *args, unsigned nargs)
{
    uint64_t time = cu__wire_time(now_ns);
    time = time > b->last ? time : b->last;
    if (b->n == 0 || b->n > COPPER_WIRE_BATCH_MAX - COPPER_WIRE_EVENT_MAX) {
        cu__wire_turn(w, b, time);
    }
    unsigned char *to = b->payload + b->n;
    *to++ = (unsigned char)type;
    to += cu__varint(to, time - b->last);
    for (unsigned i = 0; i < nargs; i++) {
        to += cu__varint(to, args[i]);
    }
    b->last = time;
    b->n = (uint32_t)(to - b->payload);
}

#endif
