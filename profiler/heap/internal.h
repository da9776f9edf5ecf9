/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what the parts of the heap library share.
 *
 *     wrap.c     the interposed calls, and the host's behind them
 *     sample.c   when an allocation is sampled, and what happens then
 *     bounds.c   which memory may be read as stack
 *     sites.c    counts by stack, labels, size class and rate
 *     blocks.c   which addresses are sampled, found again by free
 *     finish.c   stacks that could not be walked at once; the thread that completes them
 *     config.c   rate, budget, start-up, fork
 *
 * ## Rules for everything that an allocation runs through
 *
 * The caller may hold any lock of the C library, the loader or the program. So: no allocation, no
 * lock but our own spin locks (held for some 50 instructions, never across a call out of this
 * library), no loader call, no I/O but on /proc/self/maps with raw calls. errno is kept.
 *
 * A block is recorded after the host's malloc has returned it and forgotten before the host's free
 * gets it: in between nobody else can own its address.
 */
#ifndef COPPER_HEAP_INTERNAL_H
#define COPPER_HEAP_INTERNAL_H

#include <copper/heap.h>
#include <copper/stacks.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct cu_labels;

/* ---- per thread ------------------------------------------------------------------------------ */

/* Small, and initial-exec: reached without a call, so that an allocation during TLS set-up is no
 * recursion. All zero is a new thread: its first allocation goes the slow way and draws a
 * countdown. */
struct cu__heap_thread {
    uint64_t left; /* an allocation of at least this many bytes goes the slow way */
    uint64_t rate; /* that left was drawn with; 0: none was drawn */
    uint64_t random;
    uint64_t stack_lo, stack_hi; /* its own stack, as last seen; 0, 0: not seen */
    bool is_busy;                /* inside of this library */
    bool is_tool;
    bool is_forking; /* holds every spin lock */
};
extern __thread struct cu__heap_thread cu__heap_thread
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* ---- spin locks ------------------------------------------------------------------------------ */

struct cu__spin {
    atomic_bool is_taken;
};
void cu__spin_take_slow(struct cu__spin *s);

static inline void cu__spin_take(struct cu__spin *s)
{
    if (cu__heap_thread.is_forking) {
        return; /* has them all; handlers of others may allocate between ours */
    }
    if (atomic_exchange_explicit(&s->is_taken, true, memory_order_acquire)) {
        cu__spin_take_slow(s);
    }
}

static inline void cu__spin_drop(struct cu__spin *s)
{
    if (!cu__heap_thread.is_forking) {
        atomic_store_explicit(&s->is_taken, false, memory_order_release);
    }
}

/* ---- sample.c -------------------------------------------------------------------------------- */

/* Is an allocation of n bytes, which is at least `left`, to be sampled? Draws the next countdown.
 * *rate gets the rate that goes with it. */
bool cu__heap_is_due(size_t n, uint64_t *rate);
/* Enters the block. The caller is one of the wrappers. */
void cu__heap_record(void *block, size_t n, uint64_t rate);

/* ---- bounds.c -------------------------------------------------------------------------------- */

struct cu__bounds {
    uint64_t lo, hi;
};
/* Memory around sp that can be read, and belongs to the stack that sp is on as far as that can be
 * told. */
struct cu__bounds cu__heap_stack_at(uint64_t sp);

/* ---- sites.c --------------------------------------------------------------------------------- */

#define COPPER_HEAP_SITES_MAX  65536u
#define COPPER_HEAP_FRAMES_MAX (2u << 20)
#define COPPER_SITE_NONE       0u /* numbers begin at 1 */

struct cu__site {
    uint64_t hash;
    uint32_t first, nframes; /* in the array of frames */
    bool is_cut;
    uint32_t epoch; /* of the modules, when it was walked */
    const struct cu_labels *labels;
    uint64_t size, rate;
    _Atomic uint64_t allocs, alloc_bytes, frees, free_bytes;
};

struct cu__site_key {
    const cu_frame *frames;
    unsigned nframes;
    bool is_cut;
    uint32_t epoch;
    const struct cu_labels *labels;
    uint64_t bytes; /* of the allocation */
    uint64_t rate;
};
/* The site of a sample, made on first sight. Where there is no room, one without frames and labels
 * for all. COPPER_SITE_NONE: no memory at all. */
uint32_t cu__site_of(const struct cu__site_key *key);
void cu__site_alloc(uint32_t site, uint64_t bytes);
void cu__site_free(uint32_t site, uint64_t bytes);
struct cu__site *cu__site_at(uint32_t number);
const cu_frame *cu__site_frames(const struct cu__site *site);
uint32_t cu__site_count(void); /* numbers are 1 to this */
uint64_t cu__site_bytes(void);
uint64_t cu__site_folded(void);
extern struct cu__spin cu__site_lock;

/* ---- blocks.c -------------------------------------------------------------------------------- */

#define COPPER_HEAP_BLOCKS_MAX (1u << 20) /* live sampled blocks followed at once */
#define COPPER_FILTER_BITS     17         /* and as many chains */
#define COPPER_BLOCK_LOCKS     64u
#define COPPER_SITE_PENDING    UINT32_MAX /* its stack is being completed */

/* What is known of a followed block. In the sampled mode these are the sampled ones; a map of all
 * blocks is the same table with a larger filter and COPPER_SITE_NONE for those not sampled. */
struct cu__block {
    uint64_t address, bytes;
    uint32_t site;
    uint32_t serial; /* tells it from others that had the same address */
};

/* One bit a chain; set while the chain is not empty. 16 KiB: stays in the first cache. */
extern _Atomic uint64_t cu__block_filter[1u << (COPPER_FILTER_BITS - 6)];
extern struct cu__spin cu__block_locks[COPPER_BLOCK_LOCKS];

/* Blocks of one page share a few words, pages are scattered. */
static inline uint32_t cu__block_chain(uint64_t address)
{
    uint32_t page = (uint32_t)(address >> 12) * 0x9E3779B1u >> (32 - COPPER_FILTER_BITS);
    return page ^ ((uint32_t)(address >> 4) & 255);
}

/* False: surely not followed. */
static inline bool cu__block_may_be_known(const void *block)
{
    uint32_t chain = cu__block_chain((uint64_t)(uintptr_t)block);
    /* relaxed: who frees a block has it from who allocated it, and so sees what was done then */
    return atomic_load_explicit(&cu__block_filter[chain / 64], memory_order_relaxed) >>
               (chain % 64) &
           1;
}

/* False: no room. */
bool cu__block_add(const struct cu__block *block);
/* Takes it out, if it is there. */
bool cu__block_take(uint64_t address, struct cu__block *out);
/* Gives a pending block its site; false: it was freed meanwhile. */
bool cu__block_settle(uint64_t address, uint32_t serial, uint32_t site);
uint64_t cu__block_count(void);
uint64_t cu__block_memory(void);

/* Forgets a block that is about to be freed, and counts that if it was sampled. */
void cu__heap_forget(const void *block);
void cu__heap_count_free(const struct cu__block *block);

/* ---- finish.c -------------------------------------------------------------------------------- */

#define COPPER_PENDING_MAX      256u
#define COPPER_PENDING_COPY_MAX (12u << 10)

/* A sample whose stack meets code without tables yet: what is known, and a copy of the rest. */
struct cu__pending {
    _Atomic uint32_t state; /* free, being written, ready */
    uint32_t serial, epoch;
    uint64_t address, bytes, rate;
    const struct cu_labels *labels;
    struct cu_walk walk;
    uint64_t copy_at;
    uint32_t ncopy;
    cu_frame frames[COPPER_STACK_DEPTH_MAX];
    uint64_t copy[COPPER_PENDING_COPY_MAX / 8];
};
struct cu__pending *cu__pending_claim(void); /* NULL: all in use */
void cu__pending_ready(struct cu__pending *p);
void cu__pending_drop(struct cu__pending *p);
/* Completes what is ready. Not from wrappers. */
void cu__pending_finish_all(void);
void cu__finish_start(void);  /* the thread, if there is none */
void cu__finish_forget(void); /* in a forked child */
uint64_t cu__pending_count(void);
uint64_t cu__pending_memory(void);

/* ---- config.c -------------------------------------------------------------------------------- */

extern _Atomic uint64_t cu__heap_rate_now;
extern _Atomic uint64_t cu__heap_samples, cu__heap_cut, cu__heap_unfollowed, cu__heap_ns;

/* After each sample: adapts the rate to the budget now and then. */
void cu__heap_account(int64_t ns);
/* The wrapper that the program's calls come to, for the check that they do. */
bool cu__wrap_is_first(void);

int64_t cu__heap_now(clockid_t clock);
/* Address space that fills as it is touched. NULL: none. */
void *cu__heap_reserve(size_t bytes);

#endif
