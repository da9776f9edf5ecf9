/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see stack.h.
 *
 * Design: a slab is one mapping without reserved memory, cut into stacks of one class (a power of
 * two), each with a guard below it:
 *
 *      | guard 64 KiB | lo      usable        hi | guard | lo     usable      hi | ...
 *
 * A stack is cut from its slab, and gets its guard (stack_guard.c), when a coroutine runs for the
 * first time and no free one is left: not with the reservation, since of many coroutines that are
 * started together most may run on the stacks of others. A P for which that happens gets several,
 * more the more there are, with their first page, because system calls and page faults by the dozen
 * cost less. All of this is done on the thread's own stack, without locks (sched.c).
 *
 * A page of a stack exists once it was touched. Free stacks are kept warm in a last-in-first-out
 * list at each P, then in a global one. What of that was not needed for a while is given back to
 * the kernel by a timer, some at a time: giving back at once, in the coroutine's last moment, costs
 * more than all the rest of its life, because every page that goes interrupts the other processors,
 * and a program whose number of coroutines goes up and down would pay it again and again. One stack
 * in TRIM_EVERY that returns to a P's list has pages deeper than KEEP_BYTES given back, if it has
 * any: that bounds what one deep excursion costs at the price of one system call in so many.
 *
 * The first frame of neighbouring stacks starts at different offsets in the page ("colours"). All
 * at the same offset they would share one set of the first-level cache, and switching would miss.
 * The colours span three quarters of a page, so that a coroutine that uses little touches one page.
 *
 * Invariants: for each class capacity >= reserved + what the P's caches may hold back. What a P
 * holds as credit is part of reserved. Concurrency: a P's cache belongs to its owner; everything
 * else has stacks.lock.
 */
#include "stack.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "arch.h"
#include "clock.h"
#include "schedule.h"
#include "stack_guard.h"
#include "stack_use.h"

#define PAGE_BYTES    4096u
#define SLAB_STACKS   1024u               /* of the default class, for one mapping */
#define SLAB_BYTES    ((size_t)512 << 20) /* the most address space of a slab of many stacks */
#define KEEP_BYTES    (16u * 1024)
#define TRIM_EVERY    512u
#define WARM_KEEP     256u             /* free stacks with pages that are never given back */
#define GIVE_BACK     256u             /* at most so many at a time, ... */
#define GIVE_EVERY_NS (20 * COPPER_MS) /* ... not more often, ... */
#define GIVE_SHARE    50               /* ... and for one part in so many of the time */
#define REFILL        64u              /* a P that has no warm stack left takes so many */
#define AHEAD         32u /* a P that has none left gets at most so many new ones, ... */
#define AHEAD_SHARE   8u  /* ... and one for so many that there are */
#define COLOURS       64u
#define COLOUR_STEP   48u /* keeps %rsp aligned to 16 */
#define CLASSES       (COPPER_STACK_CLASS_MAX + 1)
_Static_assert(AHEAD <= COPPER_GUARDS_AT_ONCE, "they get their guards together");

/* Where stacks of a class are cut from; lies at the start of its mapping. */
struct slab {
    struct slab *next; /* of this class, with stacks left */
    char *from;        /* the guard of the next stack */
    uint32_t left;     /* so many can be cut */
    uint32_t cut;      /* so many were: as many descriptors are in use */
    struct cu__stack descriptors[];
};

static struct {
    struct cu__lock lock;
    struct slab *slabs[CLASSES];     /* lock; those with stacks left */
    struct cu__stack *warm[CLASSES]; /* lock; free ones with pages; none above the default class */
    struct cu__stack *cold[CLASSES]; /* lock; free ones without */
    uint32_t warm_count;             /* lock; of all classes */
    uint32_t warm_least;             /* lock; of the above, since some were given back last */
    bool is_giving_back;             /* lock; the timer runs */
    struct cu__timer give_back;      /* whoever set is_giving_back */
    uint32_t cut;                    /* lock; stacks ever cut: chooses colours */
    uint64_t capacity[CLASSES];      /* writer: lock; any: atomic */
    uint64_t reserved[CLASSES];      /* any: atomic */
    uint32_t ps;                     /* any: atomic; so many P may hold stacks back */
} stacks;

uint32_t cu__stack_class(size_t size)
{
    uint32_t class = COPPER_STACK_CLASS_MIN;
    if (size == 0) {
        return COPPER_STACK_CLASS_DEFAULT;
    }
    while (class <= COPPER_STACK_CLASS_MAX && ((size_t)1 << class) < size) {
        class ++;
    }
    return class <= COPPER_STACK_CLASS_MAX ? class : 0;
}

static size_t stride(uint32_t class)
{
    return ((size_t)1 << class) + COPPER_STACK_GUARD;
}

/* Called with the lock. Maps address space for more stacks, fewer when there is little. */
static int add_slab(uint32_t class)
{
    size_t count = SLAB_BYTES / stride(class);
    count = count > SLAB_STACKS ? SLAB_STACKS : count ? count : 1;
    for (; count; count /= 2) {
        /* descriptors first: one mapping serves both */
        size_t head = sizeof(struct slab) + count * sizeof(struct cu__stack);
        head = (head + PAGE_BYTES - 1) & ~(size_t)(PAGE_BYTES - 1);
        char *base = mmap(NULL, head + count * stride(class), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (base == MAP_FAILED) {
            continue;
        }
        madvise(base, head + count * stride(class), MADV_NOHUGEPAGE);
        struct slab *slab = (struct slab *)(void *)base;
        *slab = (struct slab){
            .next = stacks.slabs[class], .from = base + head, .left = (uint32_t)count};
        stacks.slabs[class] = slab;
        store_relaxed(&stacks.capacity[class], stacks.capacity[class] + count);
        return 0;
    }
    return -ENOMEM;
}

/* What the P's caches may hold while another P needs one. */
static uint64_t held_back(uint32_t class)
{
    return class == COPPER_STACK_CLASS_DEFAULT ? load_seq(&stacks.ps) * (COPPER_STACK_CACHE + 1)
                                               : 0;
}

/* Called with the lock, on a class with a slab. The guard is still to come: it costs a system call,
 * and many coroutines that are started together may run one after the other on few stacks. */
static struct cu__stack *cut_stack(uint32_t class)
{
    struct slab *slab = stacks.slabs[class];
    struct cu__stack *stack = &slab->descriptors[slab->cut++];
    stack->lo = slab->from + COPPER_STACK_GUARD;
    stack->hi = slab->from + stride(class);
    stack->class = class;
    stack->colour_bytes = (uint16_t)(stacks.cut++ % COLOURS * COLOUR_STEP);
    stack->is_cold = true;
    slab->from += stride(class);
    if (--slab->left == 0) {
        stacks.slabs[class] = slab->next;
    }
    return stack;
}

static void unreserve_many(uint32_t class, uint32_t count)
{
    __atomic_fetch_sub(&stacks.reserved[class], count, __ATOMIC_RELAXED);
}

static int reserve_many(uint32_t class, uint32_t count)
{
    uint64_t need = add_seq(&stacks.reserved[class], count) + count + held_back(class);
    if (likely(need <= load_relaxed(&stacks.capacity[class]))) {
        return 0;
    }
    int error = 0;
    cu__lock_take(&stacks.lock);
    while (error == 0 && need > stacks.capacity[class]) {
        error = add_slab(class);
    }
    cu__lock_drop(&stacks.lock);
    if (error) {
        unreserve_many(class, count);
    }
    return error;
}

int cu__stack_hold_back(uint32_t ps)
{
    uint32_t before = load_relaxed(&stacks.ps);
    if (ps <= before) {
        return 0;
    }
    /* either a reservation under way sees this, or what it reserved is seen by the next line */
    store_seq(&stacks.ps, ps);
    int error = load_seq(&stacks.reserved[COPPER_STACK_CLASS_DEFAULT])
                    ? reserve_many(COPPER_STACK_CLASS_DEFAULT, 0)
                    : 0;
    if (error) {
        store_seq(&stacks.ps, before);
    }
    return error;
}

/* A P takes and gives reservations of the default class by the half of what it may hold: coroutines
 * come and go without touching a word that all P share. */
int cu__stack_reserve(struct cu__p *p, uint32_t class)
{
    if (p == NULL || class != COPPER_STACK_CLASS_DEFAULT) {
        return reserve_many(class, 1);
    }
    if (unlikely(p->stack_credits == 0)) {
        if (reserve_many(class, COPPER_STACK_CREDITS / 2) != 0) {
            return reserve_many(class, 1); /* the last ones */
        }
        p->stack_credits = COPPER_STACK_CREDITS / 2;
    }
    p->stack_credits--;
    return 0;
}

void cu__stack_unreserve(struct cu__p *p, uint32_t class)
{
    if (p == NULL || class != COPPER_STACK_CLASS_DEFAULT) {
        unreserve_many(class, 1);
        return;
    }
    if (unlikely(++p->stack_credits > COPPER_STACK_CREDITS)) {
        unreserve_many(class, COPPER_STACK_CREDITS / 2);
        p->stack_credits -= COPPER_STACK_CREDITS / 2;
    }
}

/* Called with the lock. NULL: none. */
static struct cu__stack *pop_warm(uint32_t class)
{
    struct cu__stack *stack = stacks.warm[class];
    if (stack) {
        stacks.warm[class] = stack->next;
        stacks.warm_count--;
        stacks.warm_least =
            stacks.warm_count < stacks.warm_least ? stacks.warm_count : stacks.warm_least;
    }
    return stack;
}

/* Called with the lock: warm stacks for the coroutines that p will start next. */
static void refill(struct cu__p *p)
{
    struct cu__stack *stack;
    while (p->stacks_count < REFILL && (stack = pop_warm(COPPER_STACK_CLASS_DEFAULT))) {
        stack->next = p->stacks;
        p->stacks = stack;
        p->stacks_count++;
    }
}

/* Stacks without pages, of which those from `cut` on have no guard either. */
struct fresh {
    struct cu__stack *all[AHEAD];
    uint32_t cut, count;
};

/* Called with the lock, by who needs one: the reservation's promise is that there is one. */
static void take_fresh(struct fresh *fresh, uint32_t class)
{
    uint32_t wanted = class == COPPER_STACK_CLASS_DEFAULT ? 1 + stacks.cut / AHEAD_SHARE : 1;
    wanted = wanted < AHEAD ? wanted : AHEAD;
    struct cu__stack *stack;
    while (fresh->count < wanted && (stack = stacks.cold[class])) {
        stacks.cold[class] = stack->next;
        fresh->all[fresh->count++] = stack;
    }
    fresh->cut = fresh->count;
    cu_assert(fresh->count || stacks.slabs[class]);
    while (fresh->count < wanted && stacks.slabs[class]) {
        fresh->all[fresh->count++] = cut_stack(class);
    }
}

/* The first is for the caller, the others are p's from now on, with their first page: guards and
 * pages by the dozen cost a fifth less than in turn with what coroutines do. */
static struct cu__stack *make_ready(struct cu__p *p, const struct fresh *fresh)
{
    cu__stack_guards_install(fresh->all + fresh->cut, fresh->count - fresh->cut);
    for (uint32_t i = 1; i < fresh->count; i++) {
        struct cu__stack *stack = fresh->all[i];
        *(volatile char *)(stack->hi - 1) = 0;
        stack->is_cold = false;
        stack->next = p->stacks;
        p->stacks = stack;
        p->stacks_count++;
    }
    return fresh->all[0];
}

static noinline struct cu__stack *take_global(struct cu__p *p, uint32_t class)
{
    struct fresh fresh = {.count = 0};
    cu__lock_take(&stacks.lock);
    struct cu__stack *stack = pop_warm(class);
    if (stack == NULL) {
        take_fresh(&fresh, class);
    } else if (class == COPPER_STACK_CLASS_DEFAULT) {
        refill(p);
    }
    cu__lock_drop(&stacks.lock);
    return stack ? stack : make_ready(p, &fresh);
}

static void put_first_frame(struct cu__g *g)
{
    char *top = g->stack->hi - g->stack->colour_bytes - 64;
    memset(top, 0, 64); /* a zero return address for who walks frame pointers */
    struct cu__switch_frame *frame = (struct cu__switch_frame *)(void *)top - 1;
    memset(frame, 0, sizeof(*frame));
    frame->pc = (uint64_t)(uintptr_t)cu__coroutine_entry;
    store_relaxed(&g->context.sp, (void *)frame);
#if COPPER_WITH_TSAN
    g->context.fiber = __tsan_create_fiber(0);
#endif
#if COPPER_WITH_ASAN
    g->context.fake_stack = NULL;
    g->context.stack_lo = g->stack->lo;
    g->context.stack_size = (size_t)(g->stack->hi - g->stack->lo);
#endif
}

static void attach(struct cu__p *p, struct cu__g *g, struct cu__stack *stack)
{
    stack->next = NULL;
    stack->is_cold = false;
    store_release(&g->stack, stack); /* pairs with inspectors' loads: lo and hi are there */
    g->is_measured = false;
    if (unlikely(p->census_left-- == 0)) {
        cu__census_begin(p, g);
    }
    g->has_canary = stack->guard == COPPER_GUARD_CANARY;
    if (unlikely(g->has_canary)) {
        cu__stack_put_canary(stack);
    }
    put_first_frame(g);
}

bool cu__stack_attach_warm(struct cu__p *p, struct cu__g *g)
{
    struct cu__stack *stack = p->stacks;
    if (unlikely(stack == NULL || g->stack_class != COPPER_STACK_CLASS_DEFAULT)) {
        return false;
    }
    p->stacks = stack->next;
    p->stacks_count--;
    attach(p, g, stack);
    return true;
}

/* One stays with p: that of a coroutine that ends is p's only after its successor has got one, and
 * two of them can take turns. */
void cu__stack_attach(struct cu__p *p, struct cu__g *g)
{
    if (p->stacks_count < 2 || !cu__stack_attach_warm(p, g)) {
        attach(p, g, take_global(p, g->stack_class));
    }
}

/* Gives back what lies deeper than a coroutine commonly gets, when there is any. */
static noinline void trim(struct cu__stack *stack)
{
    size_t bytes = (size_t)(stack->hi - stack->lo) - KEEP_BYTES;
    unsigned char resident[256];
    for (size_t from = 0; from < bytes; from += sizeof(resident) * PAGE_BYTES) {
        size_t part = bytes - from;
        part = part < sizeof(resident) * PAGE_BYTES ? part : sizeof(resident) * PAGE_BYTES;
        if (mincore(stack->lo + from, part, resident)) {
            return;
        }
        if (memchr(resident, 1, part / PAGE_BYTES)) {
            madvise(stack->lo, bytes, MADV_DONTNEED);
            return;
        }
    }
}

static void make_cold(struct cu__stack *stack)
{
    madvise(stack->lo, (size_t)(stack->hi - stack->lo), MADV_DONTNEED);
    stack->is_cold = true;
}

/* Called with the lock. */
static void push_cold(struct cu__stack *stack)
{
    stack->next = stacks.cold[stack->class];
    stacks.cold[stack->class] = stack;
}

/* Called with the lock: a chain of warm stacks that nobody needed since the last time. */
static struct cu__stack *pop_surplus(void)
{
    uint32_t surplus = stacks.warm_count > WARM_KEEP ? stacks.warm_count - WARM_KEEP : 0;
    uint32_t count = surplus < stacks.warm_least ? surplus : stacks.warm_least;
    struct cu__stack *chain = NULL, *stack;
    count = count < GIVE_BACK ? count : GIVE_BACK;
    for (uint32_t class = COPPER_STACK_CLASS_DEFAULT; class >= COPPER_STACK_CLASS_MIN; class --) {
        while (count && (stack = pop_warm(class))) {
            stack->next = chain;
            chain = stack;
            count--;
        }
    }
    return chain;
}

/* The timer: gives pages back, and comes again while there are more. */
static void give_back(struct cu__timer *timer, uint64_t tag, int64_t now_ns)
{
    (void)tag;
    cu__lock_take(&stacks.lock);
    struct cu__stack *chain = pop_surplus();
    cu__lock_drop(&stacks.lock);
    for (struct cu__stack *stack = chain; stack; stack = stack->next) {
        make_cold(stack);
    }
    cu__lock_take(&stacks.lock);
    for (struct cu__stack *next; chain; chain = next) {
        next = chain->next;
        push_cold(chain);
    }
    stacks.warm_least = stacks.warm_count;
    bool goes_on = stacks.warm_count > WARM_KEEP;
    stacks.is_giving_back = goes_on;
    cu__lock_drop(&stacks.lock);
    if (goes_on) {
        int64_t end_ns = cu_now(), pause_ns = GIVE_SHARE * (end_ns - now_ns);
        cu__timer_start(timer, end_ns + (pause_ns > GIVE_EVERY_NS ? pause_ns : GIVE_EVERY_NS));
    }
}

/* Called with the lock; true: the caller starts the timer once it has given it back. */
static bool must_give_back(void)
{
    if (stacks.is_giving_back || stacks.warm_count <= WARM_KEEP) {
        return false;
    }
    stacks.is_giving_back = true;
    stacks.warm_least = stacks.warm_count;
    return true;
}

static void start_giving_back(void)
{
    /* silent: nobody is woken by it, so it does not keep a program from being at rest */
    stacks.give_back = (struct cu__timer){.fire = give_back, .is_silent = true};
    cu__timer_start(&stacks.give_back, cu_now() + GIVE_EVERY_NS);
}

/* A chain of stacks of the default class, for any P. */
static void push_warm(struct cu__stack *first, struct cu__stack *end, uint32_t count)
{
    cu__lock_take(&stacks.lock);
    end->next = stacks.warm[COPPER_STACK_CLASS_DEFAULT];
    stacks.warm[COPPER_STACK_CLASS_DEFAULT] = first;
    stacks.warm_count += count;
    bool must = must_give_back();
    cu__lock_drop(&stacks.lock);
    if (must) {
        start_giving_back();
    }
}

/* The warmer half stays with the P. */
static noinline void spill(struct cu__p *p)
{
    struct cu__stack *last = p->stacks;
    for (uint32_t i = 1; i < COPPER_STACK_CACHE / 2; i++) {
        last = last->next;
    }
    struct cu__stack *first = last->next, *end = first;
    uint32_t count = 1;
    for (; end->next; end = end->next) {
        count++;
    }
    last->next = NULL;
    p->stacks_count = COPPER_STACK_CACHE / 2;
    push_warm(first, end, count);
}

void cu__stack_empty(struct cu__p *p)
{
    struct cu__stack *first = p->stacks, *end = first;
    if (first) {
        while (end->next) {
            end = end->next;
        }
        push_warm(first, end, p->stacks_count);
        p->stacks = NULL;
        p->stacks_count = 0;
    }
    unreserve_many(COPPER_STACK_CLASS_DEFAULT, p->stack_credits);
    p->stack_credits = 0;
}

/* A stack of another size than the default, which no P keeps. */
static noinline void give_global(struct cu__stack *stack)
{
    bool is_warm = stack->class <= COPPER_STACK_CLASS_DEFAULT, must = false;
    if (!is_warm) {
        make_cold(stack); /* a large one may hold much */
    }
    cu__lock_take(&stacks.lock);
    if (is_warm) {
        stack->next = stacks.warm[stack->class];
        stacks.warm[stack->class] = stack;
        stacks.warm_count++;
        must = must_give_back();
    } else {
        push_cold(stack);
    }
    cu__lock_drop(&stacks.lock);
    if (must) {
        start_giving_back();
    }
}

void cu__stack_detach(struct cu__p *p, struct cu__g *g)
{
    struct cu__stack *stack = g->stack;
    uint32_t class = stack->class;
    if (unlikely(g->is_measured)) {
        cu__census_end(g);
    }
#if COPPER_WITH_TSAN
    __tsan_destroy_fiber(g->context.fiber);
#endif
#if COPPER_WITH_ASAN
    __asan_unpoison_memory_region(stack->lo, (size_t)(stack->hi - stack->lo));
#endif
    store_relaxed(&g->stack, NULL);
    if (unlikely(class != COPPER_STACK_CLASS_DEFAULT || p == NULL)) {
        give_global(stack);
        cu__stack_unreserve(p, class);
        return;
    }
    if (unlikely(++p->trim_tick % TRIM_EVERY == 0)) {
        trim(stack);
    }
    stack->next = p->stacks;
    p->stacks = stack;
    if (unlikely(++p->stacks_count > COPPER_STACK_CACHE)) {
        spill(p);
    }
    cu__stack_unreserve(p, class);
}

void cu__stack_configure(void)
{
    cu__census_configure();
    cu__stack_guard_configure();
}

/* The parent's stacks stay mapped: the child runs on one of them, perhaps. */
void cu__stack_after_fork(void)
{
    memset(&stacks, 0, sizeof(stacks));
}
