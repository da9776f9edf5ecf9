/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the blocks that were sampled, by address, so that free finds them again.
 *
 * Design. Chains of nodes, and in front of them a filter of one bit a chain: nearly every free is
 * of a block that was not sampled, and costs one load and one test. The bit is exact: it is set and
 * cleared under the chain's lock, so no block is lost. Nodes are numbers in one array, handed out
 * from a list of freed ones, then in order.
 *
 * Concurrency. A lock covers 1/64 of the chains, which take its bits of the filter's words with
 * atomic operations since a word may be shared. The list of free nodes has its own.
 * Fork: all locks are held (config.c).
 */
#include "internal.h"

struct node {
    struct cu__block block;
    uint32_t next; /* 0: last */
};

_Atomic uint64_t cu__block_filter[1u << (COPPER_FILTER_BITS - 6)];
struct cu__spin cu__block_locks[COPPER_BLOCK_LOCKS];

static struct {
    struct cu__spin lock; /* of all but chains and nodes that are in one */
    struct node *_Atomic nodes;
    uint32_t *chains; /* node numbers; set before nodes is */
    uint32_t free;    /* the first free node; 0: none */
    uint32_t used;    /* nodes above it were never used; 0 is not used at all */
    _Atomic uint64_t count;
} table = {.used = 1};

struct cu__spin *cu__block_table_lock(void);
struct cu__spin *cu__block_table_lock(void)
{
    return &table.lock;
}

static struct cu__spin *lock_of(uint32_t chain)
{
    return &cu__block_locks[chain % COPPER_BLOCK_LOCKS];
}

/* A node of the caller's own; 0: none left. */
static uint32_t claim_node(void)
{
    uint32_t number = 0;
    cu__spin_take(&table.lock);
    struct node *nodes = atomic_load_explicit(&table.nodes, memory_order_relaxed);
    if (!nodes) {
        table.chains = cu__heap_reserve(sizeof(uint32_t) << COPPER_FILTER_BITS);
        nodes = table.chains ? cu__heap_reserve(COPPER_HEAP_BLOCKS_MAX * sizeof *nodes) : NULL;
        atomic_store_explicit(&table.nodes, nodes, memory_order_release);
    }
    if (nodes && table.free) {
        number = table.free;
        table.free = nodes[number].next;
    } else if (nodes && table.used < COPPER_HEAP_BLOCKS_MAX) {
        number = table.used++;
    }
    cu__spin_drop(&table.lock);
    return number;
}

static void free_node(uint32_t number)
{
    struct node *nodes = atomic_load_explicit(&table.nodes, memory_order_relaxed);
    cu__spin_take(&table.lock);
    nodes[number].next = table.free;
    table.free = number;
    cu__spin_drop(&table.lock);
}

bool cu__block_add(const struct cu__block *block)
{
    uint32_t number = claim_node();
    if (number == 0) {
        return false;
    }
    struct node *node = &atomic_load_explicit(&table.nodes, memory_order_acquire)[number];
    uint32_t chain = cu__block_chain(block->address);
    node->block = *block;
    cu__spin_take(lock_of(chain));
    node->next = table.chains[chain];
    table.chains[chain] = number;
    atomic_fetch_or_explicit(&cu__block_filter[chain / 64], UINT64_C(1) << chain % 64,
                             memory_order_relaxed);
    cu__spin_drop(lock_of(chain));
    atomic_fetch_add_explicit(&table.count, 1, memory_order_relaxed);
    return true;
}

/* The link that leads to the address's node, NULL: it is not there. With the chain's lock. */
static uint32_t *find(uint32_t chain, uint64_t address)
{
    struct node *nodes = atomic_load_explicit(&table.nodes, memory_order_acquire);
    for (uint32_t *link = nodes ? &table.chains[chain] : NULL; link && *link;
         link = &nodes[*link].next) {
        if (nodes[*link].block.address == address) {
            return link;
        }
    }
    return NULL;
}

bool cu__block_take(uint64_t address, struct cu__block *out)
{
    uint32_t chain = cu__block_chain(address), number = 0;
    cu__spin_take(lock_of(chain));
    uint32_t *link = find(chain, address);
    if (link) {
        number = *link;
        struct node *node = &atomic_load_explicit(&table.nodes, memory_order_relaxed)[number];
        *out = node->block;
        *link = node->next;
        if (table.chains[chain] == 0) {
            atomic_fetch_and_explicit(&cu__block_filter[chain / 64], ~(UINT64_C(1) << chain % 64),
                                      memory_order_relaxed);
        }
    }
    cu__spin_drop(lock_of(chain));
    if (number) {
        free_node(number);
        atomic_fetch_sub_explicit(&table.count, 1, memory_order_relaxed);
    }
    return number != 0;
}

bool cu__block_settle(uint64_t address, uint32_t serial, uint32_t site)
{
    uint32_t chain = cu__block_chain(address);
    bool is_there = false;
    cu__spin_take(lock_of(chain));
    uint32_t *link = find(chain, address);
    if (link) {
        struct node *node = &atomic_load_explicit(&table.nodes, memory_order_relaxed)[*link];
        is_there = node->block.serial == serial && node->block.site == COPPER_SITE_PENDING;
        node->block.site = is_there ? site : node->block.site;
    }
    cu__spin_drop(lock_of(chain));
    return is_there;
}

uint64_t cu__block_count(void)
{
    return atomic_load_explicit(&table.count, memory_order_relaxed);
}

uint64_t cu__block_memory(void)
{
    cu__spin_take(&table.lock);
    uint64_t used = table.used;
    cu__spin_drop(&table.lock);
    return used * sizeof(struct node) + sizeof cu__block_filter +
           (table.chains ? sizeof(uint32_t) << COPPER_FILTER_BITS : 0);
}

void cu__heap_count_free(const struct cu__block *block)
{
    if (block->site != COPPER_SITE_PENDING) {
        cu__site_free(block->site, block->bytes);
    } /* else who completes it finds it gone, and counts both */
}

void cu__heap_forget(const void *address)
{
    struct cu__block block;
    if (cu__block_take((uint64_t)(uintptr_t)address, &block)) {
        cu__heap_count_free(&block);
    }
}
