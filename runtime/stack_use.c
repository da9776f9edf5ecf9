/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see stack_use.h: the census of stacks, and tidying those of coroutines that wait.
 *
 * Design of the census: a page exists once it was touched, so the deepest page that exists when a
 * coroutine ends says how deep it went; but stacks are reused warm. So a coroutine that is to be
 * measured gets a cold one: its pages are given back first. One in COPPER_STACK_CENSUS (default
 * 512) pays for that with some page faults; with 1 every coroutine is measured. The result is exact
 * to a page for those, and kept by spawn site and function in a table of fixed size.
 *
 * Design of tidying: nothing below the stack pointer of a parked coroutine is in use. The watch
 * thread goes over those that parked since the last time, while the program is idle anyway, and
 * gives their unused pages back: a deep excursion costs memory until then and not for the life of
 * the coroutine. Each stands still meanwhile (inspect.c).
 *
 * Concurrency: a place of the table is taken by compare-and-swap of its entry and then belongs to
 * this site and function; its numbers are atomic. Which coroutines are measured is the owner's of a
 * P to decide.
 */
#include "stack_use.h"

#include <copper/debug.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "clock.h"
#include "report.h"
#include "stack.h"
#include "stack_guard.h"

#define PAGE_BYTES     4096u
#define BATCH_PAGES    256u
#define PLACES         2048u /* a power of two */
#define EVERY_DEFAULT  512u
#define MARGIN_BYTES   512u /* above what is given back: the frame of the switch, and some more */
#define TIDY_AFTER_NS  COPPER_SEC
#define CLOCK_ERROR_NS (20 * COPPER_MS)

struct place {
    const struct cu_site *site;           /* any: atomic; written once, after entry */
    void (*entry)(void *);                /* any: atomic; NULL: free */
    uint64_t measured, peak, stack_bytes; /* any: atomic */
};

static struct place places[PLACES];
static uint32_t census_every = EVERY_DEFAULT; /* constant once started; 0: off */

void cu__census_configure(void)
{
    const char *text = secure_getenv("COPPER_STACK_CENSUS");
    char *end;
    if (text == NULL || *text == 0) {
        return;
    }
    errno = 0;
    unsigned long every = strtoul(text, &end, 10);
    if (*end || errno || *text == '-' || every > 1000000) {
        cu__complain("COPPER_STACK_CENSUS=%s is not a number from 0 to 1000000; using %u", text,
                     EVERY_DEFAULT);
        return;
    }
    census_every = (uint32_t)every;
}

/* The first of `pages` pages from `at` that exists; `pages`: none. */
static size_t first_resident(char *at, size_t pages)
{
    unsigned char resident[BATCH_PAGES];
    for (size_t done = 0; done < pages; done += BATCH_PAGES) {
        size_t part = pages - done < BATCH_PAGES ? pages - done : BATCH_PAGES;
        if (mincore(at + done * PAGE_BYTES, part * PAGE_BYTES, resident)) {
            return pages;
        }
        for (size_t i = 0; i < part; i++) {
            if (resident[i] & 1) {
                return done + i;
            }
        }
    }
    return pages;
}

/* The word at the bottom of a stack without guard pages keeps the lowest page alive. */
static char *lowest(const struct cu__stack *stack)
{
    return stack->guard == COPPER_GUARD_CANARY ? stack->lo + PAGE_BYTES : stack->lo;
}

size_t cu__stack_depth(const struct cu__stack *stack)
{
    char *lo = lowest(stack);
    size_t pages = (size_t)(stack->hi - lo) / PAGE_BYTES;
    return (pages - first_resident(lo, pages)) * PAGE_BYTES;
}

void cu__census_begin(struct cu__p *p, struct cu__g *g)
{
    const struct cu__stack *stack = g->stack;
    p->census_left = census_every - 1; /* 0: not for a long time */
    if (census_every == 0) {
        return;
    }
    g->is_measured = madvise(stack->lo, (size_t)(stack->hi - stack->lo), MADV_DONTNEED) == 0;
}

static struct place *find_place(const struct cu_site *site, void (*entry)(void *))
{
    uint64_t hash = (uint64_t)(uintptr_t)site * 0x9E3779B97F4A7C15u + (uint64_t)(uintptr_t)entry;
    hash *= 0xBF58476D1CE4E5B9u;
    for (uint32_t i = 0; i < PLACES; i++) {
        struct place *place = &places[((hash >> 32) + i) % PLACES];
        void (*nobody)(void *) = NULL;
        void (*owner)(void *) = load_acquire(&place->entry);
        if (owner == NULL && cas_seq(&place->entry, &nobody, entry)) {
            store_release(&place->site, site);
            return place;
        }
        owner = load_acquire(&place->entry);
        if (owner == entry && load_acquire(&place->site) == site) {
            return place;
        }
    }
    return NULL;
}

static void raise_to(uint64_t *word, uint64_t value)
{
    uint64_t old = load_relaxed(word);
    while (value > old && !cas_seq(word, &old, value)) {
    }
}

void cu__census_end(const struct cu__g *g)
{
    size_t depth = cu__stack_depth(g->stack);
    struct place *place = find_place(g->site, g->entry);
    if (place == NULL) {
        return; /* more places in the source than a program has */
    }
    add_relaxed(&place->measured, 1);
    raise_to(&place->peak, depth);
    raise_to(&place->stack_bytes, (uint64_t)(g->stack->hi - g->stack->lo));
}

int64_t cu_stack_census_each(bool (*visit)(const struct cu_stack_use *use, void *arg), void *arg)
{
    int64_t visited = 0;
    for (uint32_t i = 0; i < PLACES; i++) {
        struct place *place = &places[i];
        struct cu_stack_use use = {.size = sizeof(use)};
        use.measured = load_relaxed(&place->measured);
        if (use.measured == 0) {
            continue;
        }
        use.site = load_acquire(&place->site);
        use.entry = load_relaxed(&place->entry);
        use.peak_bytes = load_relaxed(&place->peak);
        use.stack_bytes = load_relaxed(&place->stack_bytes);
        visited++;
        if (!visit(&use, arg)) {
            break;
        }
    }
    return visited;
}

/* ---- tidying ---- */

struct tidy {
    int64_t from_ns, to_ns; /* of coroutines that parked in between */
    int64_t bytes;
    bool is_early; /* some parked later, and will be due */
};

static bool tidy_one(const struct cu_g_info *g, void *arg)
{
    struct tidy *tidy = arg;
    if (g->state != COPPER_G_WAITING || !g->has_regs || g->since_ns < tidy->from_ns) {
        return true;
    }
    if (g->since_ns >= tidy->to_ns) {
        tidy->is_early = true;
        return true;
    }
    /* the lowest page may hold the canary: it is one, and stays */
    char *lo = (char *)(uintptr_t)g->stack_lo + PAGE_BYTES;
    uint64_t used = (g->regs.sp - MARGIN_BYTES) & ~(uint64_t)(PAGE_BYTES - 1);
    if (used <= (uint64_t)(uintptr_t)lo) {
        return true;
    }
    size_t pages = (size_t)(used - (uint64_t)(uintptr_t)lo) / PAGE_BYTES;
    size_t first = first_resident(lo, pages);
    if (first < pages) {
        size_t bytes = (pages - first) * PAGE_BYTES;
        if (madvise(lo + first * PAGE_BYTES, bytes, MADV_DONTNEED) == 0) {
            tidy->bytes += (int64_t)bytes;
        }
    }
    return true;
}

int64_t cu__stacks_tidy(bool *again)
{
    static int64_t done_ns; /* of the watch thread */
    int64_t now_ns = cu_now();
    struct tidy tidy = {.from_ns = done_ns - CLOCK_ERROR_NS, .to_ns = now_ns - TIDY_AFTER_NS};
    cu_inspect_each(tidy_one, &tidy);
    done_ns = tidy.to_ns;
    *again = tidy.is_early;
    return tidy.bytes;
}
