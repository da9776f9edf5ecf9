/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see registry.h.
 *
 * Concurrency: registry.lock guards the free list and the making of chunks. The count of slots is
 * published after the slots themselves, so that walkers need no lock.
 */
#include "registry.h"

#include <copper/sync.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define CHUNK_SLOTS COPPER_CHUNK_SLOTS
#define ID_STEP     ((cu_id)COPPER_COROUTINES_MAX)
#define LAST_ID     (INT64_MAX >> COPPER_MUTEX_ID_SHIFT) /* a mutex keeps who holds it beside flags */
#define REFILL      (COPPER_G_CACHE / 2)

static struct {
    struct cu__lock lock;
    struct cu__g *free; /* lock */
    uint32_t limit;     /* constant once started */
    cu_id first_id;     /* constant in a process: ids of a child go on above its parent's */
} registry = {.limit = COPPER_COROUTINES_MAX};

/* For debuggers too, which find them by gdb_layout.c. */
struct cu__g *cu__registry_chunks[COPPER_CHUNKS]; /* written once each, before `used` passes them */
uint32_t cu__registry_used;                       /* writer: lock; any: atomic */

/* A dead slot remembers the id it will have next in created_ns. */
static cu_id next_id(const struct cu__g *g)
{
    return g->created_ns;
}

/* Called with the lock. */
static int add_chunk(void)
{
    uint32_t first = cu__registry_used;
    uint32_t room = registry.limit - first;
    room = room < CHUNK_SLOTS ? room : CHUNK_SLOTS;
    if (room == 0) {
        return -EAGAIN;
    }
    struct cu__g *slots = mmap(NULL, CHUNK_SLOTS * sizeof(*slots), PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (slots == MAP_FAILED) {
        return -ENOMEM;
    }
    for (uint32_t i = room; i-- > 0;) {
        slots[i].slot = first + i;
        slots[i].waiter.g = &slots[i];
        slots[i].created_ns = registry.first_id + first + i + 1;
        slots[i].next = registry.free;
        registry.free = &slots[i];
    }
    cu__registry_chunks[first / CHUNK_SLOTS] = slots;
    store_release(&cu__registry_used, first + room); /* pairs with cu__registry_count */
    return 0;
}

/* Called with the lock. */
static struct cu__g *pop_free(int *error)
{
    if (registry.free == NULL) {
        *error = add_chunk();
        if (*error) {
            return NULL;
        }
    }
    struct cu__g *g = registry.free;
    registry.free = g->next;
    return g;
}

static void refill(struct cu__p *p)
{
    int error;
    for (uint32_t i = 0; i < REFILL; i++) {
        struct cu__g *g = pop_free(&error);
        if (g == NULL) {
            return;
        }
        g->next = p->free_gs;
        p->free_gs = g;
        p->free_gs_count++;
    }
}

struct cu__g *cu__registry_take(struct cu__p *p, int *error)
{
    struct cu__g *g;
    *error = 0;
    if (likely(p && p->free_gs)) {
        g = p->free_gs;
        p->free_gs = g->next;
        p->free_gs_count--;
        cu__g_prefetch(p->free_gs);
    } else {
        cu__lock_take(&registry.lock);
        g = pop_free(error);
        if (g && p) {
            refill(p);
        }
        cu__lock_drop(&registry.lock);
    }
    if (likely(g)) {
        store_release(&g->id, next_id(g));
    }
    return g;
}

/* The warmer half stays. */
static noinline void spill(struct cu__p *p)
{
    struct cu__g *last = p->free_gs;
    for (uint32_t i = 1; i < COPPER_G_CACHE / 2; i++) {
        last = last->next;
    }
    struct cu__g *cold = last->next, *end = cold;
    while (end->next) {
        end = end->next;
    }
    last->next = NULL;
    p->free_gs_count = COPPER_G_CACHE / 2;
    cu__lock_take(&registry.lock);
    end->next = registry.free;
    registry.free = cold;
    cu__lock_drop(&registry.lock);
}

void cu__registry_give(struct cu__p *p, struct cu__g *g)
{
    cu_id id = g->id;
    store_relaxed(&g->id, 0);
    if (unlikely(id > LAST_ID - ID_STEP)) {
        return; /* after 10^11 coroutines a slot has no id left, and is not used any more */
    }
    store_relaxed(&g->created_ns, id + ID_STEP);
    g->next = NULL;
    if (p == NULL) {
        cu__lock_take(&registry.lock);
        g->next = registry.free;
        registry.free = g;
        cu__lock_drop(&registry.lock);
        return;
    }
    g->next = p->free_gs;
    p->free_gs = g;
    if (unlikely(++p->free_gs_count > COPPER_G_CACHE)) {
        spill(p);
    }
}

void cu__registry_empty(struct cu__p *p)
{
    struct cu__g *first = p->free_gs, *end = first;
    if (first == NULL) {
        return;
    }
    while (end->next) {
        end = end->next;
    }
    p->free_gs = NULL;
    p->free_gs_count = 0;
    cu__lock_take(&registry.lock);
    end->next = registry.free;
    registry.free = first;
    cu__lock_drop(&registry.lock);
}

struct cu__g *cu__registry_slot(uint32_t i)
{
    return &cu__registry_chunks[i / CHUNK_SLOTS][i % CHUNK_SLOTS];
}

uint32_t cu__registry_count(void)
{
    return load_acquire(&cu__registry_used);
}

void cu__registry_limit(uint32_t limit)
{
    registry.limit = limit;
}

/* The parent's slots stay mapped, because the calling coroutine's may be one of them, and are never
 * looked at again. */
void cu__registry_after_fork(void)
{
    cu_id above = registry.first_id;
    for (uint32_t i = 0; i < cu__registry_used; i++) {
        struct cu__g *g = cu__registry_slot(i);
        cu_id id = g->id ? g->id : next_id(g);
        above = id > above ? id : above;
    }
    uint32_t limit = registry.limit;
    memset(&registry, 0, sizeof(registry));
    memset(cu__registry_chunks, 0, sizeof(cu__registry_chunks));
    cu__registry_used = 0;
    registry.limit = limit;
    registry.first_id = (above / ID_STEP + 1) * ID_STEP;
}
