/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the modules by id, the ranges that walkers search, and the epoch that says for how long
 * a finding is certain.
 *
 * Design. A library that is closed may be replaced at the very same address at once, so a range
 * alone proves nothing. The epoch changes before and after every dlclose. An image that cannot be
 * unloaded is certain always. Any other is certain
 *   - in the epoch in which it was last seen to be there while no dlclose was under way, or
 *   - on a live stack, if its build-id is in memory right now: what has a frame on a live stack
 * cannot be unloaded during the walk. That look costs a system call and is remembered for the
 * epoch. Code that belongs to no loaded object is only believed while the loader agrees.
 *
 * Invariants. An id, once given, means the same mapping of the same image for ever. A module that
 * comes back to where it was gets its old id.
 *
 * Concurrency. Ranges are in one of two slots guarded by a sequence number; the writer (prepare
 * lock) fills the one that is not current. Slots that became too small are abandoned, not freed: a
 * reader may be anywhere. Each is twice as large as the one before, so what is abandoned stays
 * small.
 *
 * Signal safety: _sig functions.
 */
#include "internal.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define RANGES_FIRST   256u
#define READ_TRIES_MAX 4
#define EPOCH_FIRST    2u /* 0: never */
#define BUCKETS        4096u

struct range {
    _Atomic uint64_t start, limit;
    _Atomic(struct cu__module *) module;
};

struct slot {
    _Atomic uint32_t seq; /* odd: being written */
    _Atomic uint32_t n;
    uint32_t cap;
    struct slot
        *outgrown; /* the one whose place this took: kept, and to be found by leak checkers */
    struct range ranges[];
};

_Atomic bool cu__is_unknown_seen;

static _Atomic uint64_t epoch_word = EPOCH_FIRST;
static _Atomic(struct cu__module *) modules[COPPER_MODULES_MAX + 1];
static _Atomic uint32_t nmodules; /* ids 1..n are given */
static uint32_t buckets[BUCKETS]; /* by address: the latest id; lock: prepare */
static _Atomic(struct cu__module *) main_module;
static struct slot *slots[2]; /* lock: prepare */
static _Atomic(struct slot *) current_slot;

/* ---- epoch ----------------------------------------------------------------------------------- */

uint64_t cu__epoch_word(void)
{
    return atomic_load_explicit(&epoch_word, memory_order_seq_cst);
}

uint32_t cu_modules_epoch_sig(void)
{
    return (uint32_t)atomic_load_explicit(&epoch_word, memory_order_acquire);
}

/* Adds to the epoch without carrying into the count of closings. */
static void bump_sig(int64_t closings)
{
    uint64_t old = atomic_load_explicit(&epoch_word, memory_order_relaxed), new;
    do {
        uint32_t epoch = (uint32_t)old + 1;
        if (epoch == 0)
            epoch = EPOCH_FIRST;
        new = (uint64_t)((int64_t)(old >> 32) + closings) << 32 | epoch;
    } while (!atomic_compare_exchange_weak_explicit(&epoch_word, &old, new, memory_order_seq_cst,
                                                    memory_order_relaxed));
}

void cu_modules_closing_sig(void)
{
    bump_sig(1);
}

void cu_modules_closed_sig(void)
{
    bump_sig(-1);
}

/* ---- finding --------------------------------------------------------------------------------- */

static bool has_build_id_sig(const struct cu__image *image)
{
    uint8_t now[COPPER_BUILD_ID_MAX];
    struct iovec local = {now, image->build_id_n};
    struct iovec remote = {(void *)(uintptr_t)image->build_id_at, image->build_id_n};
    if (!image->build_id_n)
        return false;
    int saved = errno;
    long got = syscall(SYS_process_vm_readv, syscall(SYS_getpid), &local, 1ul, &remote, 1ul, 0ul);
    errno = saved;
    return got == (long)image->build_id_n && memcmp(now, image->build_id, image->build_id_n) == 0;
}

/* Does the loader agree on what is at pc? */
static bool agrees_with_loader_sig(const struct cu__image *image, uint64_t pc)
{
    struct dl_find_object found;
    bool is_found = _dl_find_object((void *)(uintptr_t)pc, &found) == 0;
    if (!image->is_elf)
        return !is_found;
    return is_found && (uint64_t)(uintptr_t)found.dlfo_map_start == image->base &&
           (uint64_t)(uintptr_t)found.dlfo_eh_frame == image->hdr;
}

static bool is_certain_sig(struct cu__image *image, uint64_t pc, uint32_t epoch, bool is_live)
{
    if (atomic_load_explicit(&image->is_permanent, memory_order_relaxed))
        return true;
    if (is_live && !agrees_with_loader_sig(image, pc))
        return false;
    if (atomic_load_explicit(&image->verified, memory_order_acquire) == epoch)
        return true;
    if (!is_live || !has_build_id_sig(image))
        return false;
    /* no dlclose is under way and none was since the epoch was read: it stays for this epoch */
    if (atomic_load_explicit(&epoch_word, memory_order_seq_cst) == epoch)
        atomic_store_explicit(&image->verified, epoch, memory_order_release);
    return true;
}

/* Searches one slot; false: it was rewritten meanwhile. */
static bool search_slot_sig(struct slot *slot, uint64_t pc, struct cu__module **found)
{
    uint32_t seq = atomic_load_explicit(&slot->seq, memory_order_acquire);
    uint32_t n = atomic_load_explicit(&slot->n, memory_order_acquire);
    *found = NULL;
    if (seq & 1)
        return false;
    const struct range *at = slot->ranges;
    while (n > 1) {
        uint32_t half = n / 2;
        at += atomic_load_explicit(&at[half].start, memory_order_acquire) <= pc ? half : 0;
        n -= half;
    }
    if (n && atomic_load_explicit(&at->start, memory_order_acquire) <= pc &&
        pc < atomic_load_explicit(&at->limit, memory_order_acquire))
        *found = atomic_load_explicit(&at->module, memory_order_acquire);
    /* pairs with the release stores in fill_slot: fields of a later filling imply its odd seq */
    return atomic_load_explicit(&slot->seq, memory_order_relaxed) == seq;
}

static struct cu__module *search_sig(uint64_t pc)
{
    struct cu__module *found = NULL;
    for (int tries = 0; tries < READ_TRIES_MAX; tries++) {
        struct slot *slot = atomic_load_explicit(&current_slot, memory_order_acquire);
        if (!slot)
            return NULL;
        if (!search_slot_sig(slot, pc, &found))
            continue;
        if (!found && !atomic_load_explicit(&cu__is_unknown_seen, memory_order_relaxed))
            atomic_store_explicit(&cu__is_unknown_seen, true, memory_order_relaxed);
        return found;
    }
    return NULL;
}

/* The module at pc if it is certain, or the one that was there before it if that is. */
static struct cu__module *choose_sig(uint64_t pc, uint32_t epoch, bool is_live)
{
    struct cu__module *m = search_sig(pc);
    if (!m || is_certain_sig(m->image, pc, epoch, is_live))
        return m;
    m = atomic_load_explicit(&m->other, memory_order_acquire);
    if (m && pc >= m->public.start && pc < m->public.limit &&
        is_certain_sig(m->image, pc, epoch, is_live))
        return m;
    return NULL;
}

const struct cu__module *cu__module_find_sig(uint64_t pc, uint32_t epoch, bool is_live)
{
    return choose_sig(pc, epoch, is_live);
}

bool cu__module_is_any_at(uint64_t pc)
{
    return search_sig(pc) != NULL;
}

const struct cu_module *cu_module_at(uint64_t pc)
{
    const struct cu__module *m = choose_sig(pc, cu_modules_epoch_sig(), true);
    return m ? &m->public : NULL;
}

/* ---- by id ----------------------------------------------------------------------------------- */

const struct cu__module *cu__module_get(uint32_t id)
{
    if (id == 0 || id > atomic_load_explicit(&nmodules, memory_order_acquire))
        return NULL;
    return atomic_load_explicit(&modules[id], memory_order_acquire);
}

uint32_t cu__modules_count(void)
{
    return atomic_load_explicit(&nmodules, memory_order_acquire);
}

const struct cu_module *cu_module_by_id(uint32_t id)
{
    const struct cu__module *m = cu__module_get(id);
    return m ? &m->public : NULL;
}

const struct cu_module *cu_module_main(void)
{
    struct cu__module *m = atomic_load_explicit(&main_module, memory_order_acquire);
    return m ? &m->public : NULL;
}

struct cu__module *cu__module_add(struct cu__image *image, uint64_t start, uint64_t limit,
                                  uint64_t offset)
{
    uint32_t n = atomic_load_explicit(&nmodules, memory_order_relaxed);
    uint32_t *bucket = &buckets[(start >> 12) % BUCKETS];
    for (uint32_t id = *bucket; id; id = modules[id]->next) {
        struct cu__module *m = atomic_load_explicit(&modules[id], memory_order_relaxed);
        if (m->image == image && m->public.start == start && m->public.limit == limit &&
            m->public.offset == offset)
            return m;
    }
    struct cu__module *m = n < COPPER_MODULES_MAX ? calloc(1, sizeof *m) : NULL;
    if (!m)
        return NULL;
    m->image = image;
    m->next = *bucket;
    *bucket = n + 1;
    m->public = (struct cu_module){
        n + 1, start, limit, offset, image->path, image->build_id_hex, image->is_main};
    atomic_store_explicit(&modules[n + 1], m, memory_order_release);
    atomic_store_explicit(&nmodules, n + 1, memory_order_release);
    if (image->is_main && !atomic_load_explicit(&main_module, memory_order_relaxed))
        atomic_store_explicit(&main_module, m, memory_order_release);
    return m;
}

size_t cu__modules_loaded(void)
{
    const struct slot *slot = atomic_load_explicit(&current_slot, memory_order_acquire);
    return slot ? atomic_load_explicit(&slot->n, memory_order_relaxed) : 0;
}

/* ---- publishing ------------------------------------------------------------------------------ */

static void fill_slot(struct slot *slot, const struct cu__range *ranges, size_t n)
{
    uint32_t seq = atomic_load_explicit(&slot->seq, memory_order_relaxed);
    atomic_store_explicit(&slot->seq, seq + 1, memory_order_relaxed);
    /* release: whoever sees one of these also sees the odd number */
    atomic_store_explicit(&slot->n, (uint32_t)n, memory_order_release);
    for (size_t i = 0; i < n; i++) {
        atomic_store_explicit(&slot->ranges[i].start, ranges[i].start, memory_order_release);
        atomic_store_explicit(&slot->ranges[i].limit, ranges[i].limit, memory_order_release);
        atomic_store_explicit(&slot->ranges[i].module, ranges[i].module, memory_order_release);
    }
    atomic_store_explicit(&slot->seq, seq + 2, memory_order_release);
}

static int compare_ranges(const void *a, const void *b)
{
    uint64_t x = ((const struct cu__range *)a)->start, y = ((const struct cu__range *)b)->start;
    return (x > y) - (x < y);
}

int cu__modules_publish(struct cu__range *ranges, size_t n)
{
    struct slot *now = atomic_load_explicit(&current_slot, memory_order_relaxed);
    int spare = now && now == slots[0] ? 1 : 0;
    if (n)
        qsort(ranges, n, sizeof *ranges, compare_ranges);
    if (!slots[spare] || slots[spare]->cap < n) {
        size_t cap = RANGES_FIRST;
        while (cap < n)
            cap *= 2;
        struct slot *slot = calloc(1, sizeof *slot + cap * sizeof slot->ranges[0]);
        if (!slot)
            return -ENOMEM;
        slot->cap = (uint32_t)cap;
        slot->outgrown = slots[spare];
        slots[spare] = slot;
    }
    fill_slot(slots[spare], ranges, n);
    atomic_store_explicit(&current_slot, slots[spare], memory_order_release);
    return 0;
}
