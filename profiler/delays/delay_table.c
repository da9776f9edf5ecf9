/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see delay_table.h.
 */
#include "delay_table.h"

#include "mix.h"
#include "pages.h"

#include <errno.h>
#include <string.h>

static struct cu__delay_entry *entries; /* COPPER_DELAY_PLACES, then one for each kind */
static cu_frame *pool;                  /* COPPER_DELAY_FRAMES */
static _Atomic bool is_open;
static _Atomic uint32_t entries_used, pool_used;
static _Atomic uint64_t refused;

int cu__delay_table_open(void)
{
    if (atomic_load(&is_open)) {
        return 0;
    }
    size_t n = COPPER_DELAY_PLACES + COPPER_DELAY_KINDS;
    entries = entries ? entries : cu__pages_map(n * sizeof(*entries));
    pool = pool ? pool : cu__pages_map(COPPER_DELAY_FRAMES * sizeof(*pool));
    if (!entries || !pool) {
        return -ENOMEM;
    }
    for (unsigned kind = 0; kind < COPPER_DELAY_KINDS; kind++) {
        struct cu__delay_entry *rest = &entries[COPPER_DELAY_PLACES + kind];
        rest->key = (struct cu__delay_key){.kind = (uint8_t)kind, .is_cut = true};
        rest->hash = 1;
        rest->is_ready = true;
    }
    atomic_store(&is_open, true);
    return 0;
}

static uint64_t hash_of(const struct cu__delay_key *key, const cu_frame *frames, unsigned n)
{
    uint64_t facts = (uint64_t)key->kind << 24 | (uint64_t)key->why << 16 | key->is_cut;
    uint64_t hash = cu__mix(cu__mix(cu__mix(n, facts), key->waker), key->entry);
    hash = cu__mix(hash, (uint64_t)(uintptr_t)key->labels);
    for (unsigned i = 0; i < n; i++) {
        hash = cu__mix(hash, frames[i]);
    }
    return hash ? hash : 1;
}

static void fill(struct cu__delay_entry *e, const struct cu__delay_key *key, const cu_frame *frames,
                 unsigned n)
{
    uint32_t first = atomic_fetch_add_explicit(&pool_used, n, memory_order_relaxed);
    if (first > COPPER_DELAY_FRAMES - n) {
        atomic_fetch_sub_explicit(&pool_used, n, memory_order_relaxed);
        atomic_fetch_add_explicit(&refused, 1, memory_order_relaxed);
        n = 0; /* counted, but as a stack that is not known */
    } else {
        memcpy(pool + first, frames, n * sizeof(*frames));
    }
    e->key = *key;
    e->first = first;
    e->nframes = n;
    /* pairs with the load in cu__delay_each */
    atomic_store_explicit(&e->is_ready, true, memory_order_release);
}

/* The place of this hash, claimed now or before; NULL: no room. */
static struct cu__delay_entry *find(uint64_t hash, bool *is_new)
{
    *is_new = false;
    uint32_t at = (uint32_t)hash & (COPPER_DELAY_PLACES - 1);
    /* ends: a quarter of the places stays free */
    for (;; at = (at + 1) & (COPPER_DELAY_PLACES - 1)) {
        uint64_t there = atomic_load_explicit(&entries[at].hash, memory_order_relaxed);
        if (there == 0) {
            if (atomic_fetch_add_explicit(&entries_used, 1, memory_order_relaxed) >=
                COPPER_DELAY_ENTRIES) {
                atomic_fetch_sub_explicit(&entries_used, 1, memory_order_relaxed);
                return NULL;
            }
            if (atomic_compare_exchange_strong(&entries[at].hash, &there, hash)) {
                *is_new = true;
                return &entries[at];
            }
            atomic_fetch_sub_explicit(&entries_used, 1, memory_order_relaxed);
        }
        if (there == hash) {
            return &entries[at];
        }
    }
}

void cu__delay_more(struct cu__delay_entry *entry, int64_t count, int64_t delay_ns)
{
    atomic_fetch_add_explicit(&entry->count, count, memory_order_relaxed);
    atomic_fetch_add_explicit(&entry->delay_ns, delay_ns, memory_order_relaxed);
}

struct cu__delay_entry *cu__delay_add(const struct cu__delay_key *key, const cu_frame *frames,
                                      unsigned n, int64_t count, int64_t delay_ns)
{
    bool is_new;
    struct cu__delay_entry *e = find(hash_of(key, frames, n), &is_new);
    if (!e) {
        atomic_fetch_add_explicit(&refused, 1, memory_order_relaxed);
        e = &entries[COPPER_DELAY_PLACES + key->kind];
    } else if (is_new) {
        fill(e, key, frames, n);
    }
    cu__delay_more(e, count, delay_ns);
    return e;
}

void cu__delay_each(enum cu__delay_kind kind,
                    void (*visit)(const struct cu__delay_entry *entry, const cu_frame *frames,
                                  void *arg),
                    void *arg)
{
    if (!atomic_load(&is_open)) {
        return;
    }
    for (uint32_t i = 0; i < COPPER_DELAY_PLACES + COPPER_DELAY_KINDS; i++) {
        const struct cu__delay_entry *e = &entries[i];
        if (atomic_load_explicit(&e->hash, memory_order_relaxed) != 0 &&
            atomic_load_explicit(&e->is_ready, memory_order_acquire) && e->key.kind == kind &&
            atomic_load_explicit(&e->count, memory_order_relaxed) > 0) {
            visit(e, pool + e->first, arg);
        }
    }
}

static void count_one(const struct cu__delay_entry *entry, const cu_frame *frames, void *arg)
{
    (void)entry, (void)frames;
    ++*(uint64_t *)arg;
}

uint64_t cu__delay_entries(enum cu__delay_kind kind)
{
    uint64_t n = 0;
    cu__delay_each(kind, count_one, &n);
    return n;
}

uint64_t cu__delay_table_used(void)
{
    return atomic_load_explicit(&entries_used, memory_order_relaxed);
}

uint64_t cu__delay_table_bytes(void)
{
    return (uint64_t)atomic_load(&entries_used) * sizeof(struct cu__delay_entry) +
           (uint64_t)atomic_load(&pool_used) * sizeof(cu_frame);
}

uint64_t cu__delay_table_refused(void)
{
    return atomic_load_explicit(&refused, memory_order_relaxed);
}
