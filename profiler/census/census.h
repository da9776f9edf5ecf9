/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: every coroutine (and, by option or where there is no runtime, every thread) of the
 * process at one moment, grouped by equal stack and facts: what the `goroutine` profile is made
 * from.
 *
 * Design. One pass over cu_inspect_each. Stacks, names and groups are interned, and nothing is
 * named before everybody has been seen: 100 000 coroutines waiting at one place cost one group and
 * one symbolized stack. A coroutine that runs has no registers; if the kernel says that a thread
 * waits in a system call with its stack pointer on that coroutine's stack, it is walked from there,
 * else its stack is the function it was started with.
 *
 * The runtime is known through weak references only: without it a census is one of threads.
 *
 * Concurrency: a census belongs to one thread.
 */
#ifndef COPPER_CENSUS_H
#define COPPER_CENSUS_H

#include "interner.h"
#include "tally.h"

#include <copper/go.h>
#include <copper/label.h>
#include <copper/stacks.h>
#include <stdbool.h>
#include <stdint.h>

struct cu__census_options {
    bool with_threads;    /* threads beside coroutines */
    bool without_workers; /* but not those that run coroutines */
    bool with_members;    /* keep each one, not only the groups */
    uint32_t one_in;      /* take a coroutine with probability 1/one_in; 0: all */
};

/* What members of a group have in common. */
struct cu__census_group {
    uint32_t stack;  /* number in stacks */
    uint32_t thread; /* name of a thread, number in texts; COPPER_INTERN_NONE: a coroutine */
    const char *state;
    const struct cu_labels *labels;
    const struct cu_site *site;
};

struct cu__census_member {
    int64_t id;         /* of the coroutine; or a thread's tid */
    int64_t parent;     /* 0: none known */
    int64_t waiting_ns; /* 0: does not wait, or unknown */
    uint32_t group;
    uint32_t name;   /* number in texts; COPPER_INTERN_NONE: none */
    uint32_t object; /* what it waits on, as text; COPPER_INTERN_NONE: none */
    bool is_locked;  /* to its thread */
};

struct cu__census {
    struct cu__interner stacks, texts;
    struct cu__tally groups; /* of struct cu__census_group */
    struct cu__census_member *members;
    size_t nmembers, members_cap;
    uint64_t total;
    struct cu__census_options options;
    bool is_failed; /* out of memory */
};

/* Takes it. 0 or -ENOMEM. To be cleared in either case. */
int cu__census_take(struct cu__census *c, struct cu__census_options options);
void cu__census_clear(struct cu__census *c);

const struct cu__census_group *cu__census_group(const struct cu__census *c, uint32_t group);
const cu_frame *cu__census_stack(const struct cu__census *c, uint32_t stack, unsigned *n);

/* Group numbers, most members first; equal ones in order of their stacks' numbers. The caller
 * frees. NULL: out of memory. */
uint32_t *cu__census_order(const struct cu__census *c);

/* How many a census would count now; for the index page. */
uint64_t cu__census_count(void);

/* A key and value of a group, for labels. Coroutines' own labels win over ours of the same key. */
#define COPPER_GROUP_LABELS_MAX (COPPER_LABELS_MAX + 3)
struct cu__group_label {
    const char *key, *value;
};
struct cu__group_labels {
    unsigned n;
    struct cu__group_label at[COPPER_GROUP_LABELS_MAX];
    char spawned_at[512];
};
/* Sorted by key. */
void cu__census_labels(const struct cu__census *c, const struct cu__census_group *g,
                       struct cu__group_labels *out);

/* "State" of the memory that a coroutine's stack takes, as the leaf of what it was spawned by. */
#define COPPER_STATE_STACK "coroutine stack"

/* Where a stack is unknown a stand-in is shown: an address that no code has, and its name. */
#define COPPER_STAND_IN_START 0x1000u
#define COPPER_STAND_IN_LIMIT 0x2000u
uint64_t cu__stand_in_address(const char *state);
const char *cu__stand_in_name(uint64_t address); /* NULL: not one of them */

#endif
