/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: counts of samples by stack, labels, size class and rate.
 *
 * Design. Sites are only ever added: an open-addressing index of their numbers, entries and frames
 * in arrays of reserved address space. The rate is part of the key, so that what was sampled at
 * another rate is scaled by that one; so is the size class, since how many allocations a sample
 * stands for depends on their size. Within a class sizes differ by at most 1/16, and the counts of
 * bytes are exact.
 *
 * The last places are kept for sites without stack and labels, one for each class and rate, into
 * which everything is folded when the rest is full: totals stay right.
 *
 * Concurrency. Looking up takes no lock: a number in the index is published with release after the
 * entry is complete. Adding takes cu__site_lock. Counts are atomics; frees are read before allocs,
 * so that a reader never sees more of the former.
 */
#include "internal.h"

#include <string.h>

#define INDEX_SIZE  (2 * COPPER_HEAP_SITES_MAX)
#define FOLDED_ROOM 2048u
#define EXACT_MAX   256u /* sizes up to it are rounded to 16 */

struct cu__spin cu__site_lock;

static struct {
    struct cu__site *_Atomic sites;
    cu_frame *frames;
    _Atomic uint32_t *index; /* number; 0: empty */
    _Atomic uint32_t count;  /* lock */
    uint32_t nframes;        /* lock */
    _Atomic uint64_t folded;
} table;

static uint64_t class_of(uint64_t bytes)
{
    if (bytes <= EXACT_MAX) {
        return bytes ? (bytes + 15) & ~UINT64_C(15) : 0;
    }
    unsigned shift = 63u - (unsigned)__builtin_clzll(bytes - 1) - 4;
    return (((bytes - 1) >> shift) + 1) << shift;
}

static uint64_t hash_of(const struct cu__site_key *key, uint64_t size)
{
    uint64_t h = size * UINT64_C(0x9e3779b97f4a7c15) ^ key->rate ^ key->is_cut ^
                 (uint64_t)(uintptr_t)key->labels << 7;
    for (unsigned i = 0; i < key->nframes; i++) {
        h = (h ^ key->frames[i]) * UINT64_C(0xff51afd7ed558ccd);
        h ^= h >> 32;
    }
    return h;
}

static bool is_same(const struct cu__site *s, const struct cu__site_key *key, uint64_t size,
                    uint64_t hash)
{
    return s->hash == hash && s->nframes == key->nframes && s->labels == key->labels &&
           s->size == size && s->rate == key->rate && s->is_cut == key->is_cut &&
           memcmp(cu__site_frames(s), key->frames, key->nframes * sizeof(cu_frame)) == 0;
}

/* The number of the site, or COPPER_SITE_NONE; *place gets where it is or belongs. */
static uint32_t look_up(const struct cu__site_key *key, uint64_t size, uint64_t hash,
                        uint32_t *place)
{
    struct cu__site *sites = atomic_load_explicit(&table.sites, memory_order_acquire);
    uint32_t at = (uint32_t)(hash >> 20) % INDEX_SIZE;
    while (sites) {
        uint32_t number = atomic_load_explicit(&table.index[at], memory_order_acquire);
        if (number == 0 || is_same(&sites[number], key, size, hash)) {
            *place = at;
            return number;
        }
        at = (at + 1) % INDEX_SIZE;
    }
    return COPPER_SITE_NONE;
}

/* With the lock. */
static bool open_table(void)
{
    if (atomic_load_explicit(&table.sites, memory_order_relaxed)) {
        return true;
    }
    table.frames = cu__heap_reserve(COPPER_HEAP_FRAMES_MAX * sizeof(cu_frame));
    table.index = cu__heap_reserve(INDEX_SIZE * sizeof(uint32_t));
    struct cu__site *sites = cu__heap_reserve((COPPER_HEAP_SITES_MAX + 1) * sizeof *sites);
    if (table.frames && table.index) {
        atomic_store_explicit(&table.sites, sites, memory_order_release);
    }
    return sites != NULL && table.frames && table.index;
}

/* With the lock. */
static uint32_t add(const struct cu__site_key *key, uint64_t size, uint64_t hash, uint32_t place)
{
    uint32_t count = atomic_load_explicit(&table.count, memory_order_relaxed);
    uint32_t most = COPPER_HEAP_SITES_MAX - (key->nframes || key->labels ? FOLDED_ROOM : 0);
    if (count >= most || key->nframes > COPPER_HEAP_FRAMES_MAX - table.nframes) {
        return COPPER_SITE_NONE;
    }
    uint32_t number = count + 1;
    struct cu__site *s = &atomic_load_explicit(&table.sites, memory_order_relaxed)[number];
    *s = (struct cu__site){.hash = hash,
                           .first = table.nframes,
                           .nframes = key->nframes,
                           .is_cut = key->is_cut,
                           .epoch = key->epoch,
                           .labels = key->labels,
                           .size = size,
                           .rate = key->rate};
    memcpy(table.frames + table.nframes, key->frames, key->nframes * sizeof(cu_frame));
    table.nframes += key->nframes;
    atomic_store_explicit(&table.count, number, memory_order_release);
    atomic_store_explicit(&table.index[place], number, memory_order_release);
    return number;
}

static uint32_t find_or_add(const struct cu__site_key *key)
{
    uint64_t size = class_of(key->bytes), hash = hash_of(key, size);
    uint32_t place = 0, number = look_up(key, size, hash, &place);
    if (number == COPPER_SITE_NONE) {
        cu__spin_take(&cu__site_lock);
        if (open_table()) {
            number = look_up(key, size, hash, &place);
            number = number ? number : add(key, size, hash, place);
        }
        cu__spin_drop(&cu__site_lock);
    }
    return number;
}

uint32_t cu__site_of(const struct cu__site_key *key)
{
    uint32_t number = find_or_add(key);
    if (number == COPPER_SITE_NONE) {
        atomic_fetch_add_explicit(&table.folded, 1, memory_order_relaxed);
        struct cu__site_key rest = {.frames = key->frames, .bytes = key->bytes, .rate = key->rate};
        number = find_or_add(&rest);
    }
    return number;
}

struct cu__site *cu__site_at(uint32_t number)
{
    return &atomic_load_explicit(&table.sites, memory_order_acquire)[number];
}

const cu_frame *cu__site_frames(const struct cu__site *site)
{
    return table.frames + site->first;
}

void cu__site_alloc(uint32_t number, uint64_t bytes)
{
    if (number != COPPER_SITE_NONE) {
        struct cu__site *s = cu__site_at(number);
        atomic_fetch_add_explicit(&s->alloc_bytes, bytes, memory_order_relaxed);
        atomic_fetch_add_explicit(&s->allocs, 1, memory_order_release);
    }
}

void cu__site_free(uint32_t number, uint64_t bytes)
{
    if (number != COPPER_SITE_NONE) {
        struct cu__site *s = cu__site_at(number);
        atomic_fetch_add_explicit(&s->free_bytes, bytes, memory_order_relaxed);
        atomic_fetch_add_explicit(&s->frees, 1, memory_order_release);
    }
}

uint32_t cu__site_count(void)
{
    return atomic_load_explicit(&table.count, memory_order_acquire);
}

uint64_t cu__site_folded(void)
{
    return atomic_load_explicit(&table.folded, memory_order_relaxed);
}

uint64_t cu__site_bytes(void)
{
    cu__spin_take(&cu__site_lock);
    uint64_t bytes = (uint64_t)table.nframes * sizeof(cu_frame) +
                     (uint64_t)cu__site_count() * sizeof(struct cu__site) +
                     (table.index ? INDEX_SIZE * sizeof(uint32_t) : 0);
    cu__spin_drop(&cu__site_lock);
    return bytes;
}
