/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the totals behind block, mutex, schedule and hog: how often and how long, by kind, stack
 * and a few facts. Written by hooks of the scheduler, so nothing here locks, allocates or waits.
 *
 * Design. Open addressing over entries that are claimed by a compare-and-swap on a 64-bit hash and
 * never given up, so that totals never fall. The hash is the identity: that two of 24 576 stacks
 * share one happens once in 10^10 tables. A table that is full counts into one entry for each kind,
 * shown as a stack that is not known.
 *
 * Concurrency: adding from anywhere, reading from anywhere. Values are relaxed atomics; an entry's
 * frames and key may be read once is_ready was seen.
 */
#ifndef COPPER_DELAY_TABLE_H
#define COPPER_DELAY_TABLE_H

#include <copper/stacks.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define COPPER_DELAY_PLACES  32768u /* a power of two */
#define COPPER_DELAY_ENTRIES 24576u
#define COPPER_DELAY_FRAMES  (1u << 20)
#define COPPER_DELAY_DEPTH   128u /* frames of one stack, as Go has */
#define COPPER_DELAY_ONE     256  /* counts are kept in parts of one, for weights below two */

struct cu_labels;

enum cu__delay_kind {
    COPPER_DELAY_BLOCK,
    COPPER_DELAY_MUTEX,
    COPPER_DELAY_SCHEDULE,
    COPPER_DELAY_HOG,
    COPPER_DELAY_KINDS
};

struct cu__delay_key {
    uint8_t kind;   /* enum cu__delay_kind */
    uint8_t why;    /* block: enum cu_wait_reason; schedule: enum cu_ready_cause */
    bool is_cut;    /* the stack does not reach the outermost frame */
    uint64_t waker; /* schedule: see delay_hooks.h */
    uint64_t entry; /* the function that the coroutine was spawned with; 0: none or unknown */
    const struct cu_labels *labels; /* of the one whose stack it is; NULL: none */
};

struct cu__delay_entry {
    _Atomic uint64_t hash; /* 0: free */
    _Atomic bool is_ready;
    struct cu__delay_key key;
    uint32_t first, nframes;
    _Atomic int64_t count; /* in 1/COPPER_DELAY_ONE */
    _Atomic int64_t delay_ns;
};

/* Reserves the memory; once. 0 or -ENOMEM. */
int cu__delay_table_open(void);

/* Adds, and returns the entry, to which more may be added with cu__delay_more. After open. */
struct cu__delay_entry *cu__delay_add(const struct cu__delay_key *key, const cu_frame *frames,
                                      unsigned n, int64_t count, int64_t delay_ns);
void cu__delay_more(struct cu__delay_entry *entry, int64_t count, int64_t delay_ns);

/* Calls visit for every entry of a kind that counted something. None before open. */
void cu__delay_each(enum cu__delay_kind kind,
                    void (*visit)(const struct cu__delay_entry *entry, const cu_frame *frames,
                                  void *arg),
                    void *arg);
/* How many there are; of all kinds; bytes in use; what found the table full. */
uint64_t cu__delay_entries(enum cu__delay_kind kind);
uint64_t cu__delay_table_used(void);
uint64_t cu__delay_table_bytes(void);
uint64_t cu__delay_table_refused(void);

#endif
