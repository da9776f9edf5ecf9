/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: each distinct (stack, labels, kind of thread) once, under a small number that stays valid
 * while anybody counts. Bounded: a full table refuses, the caller counts what it refused.
 *
 * Design. Open addressing over entries that are only ever appended; frames lie in one array. All
 * memory is reserved address space, touched as it fills, given back by a reset; malloc is not used,
 * since this runs beside a host whose allocator may be anything.
 *
 * Concurrency: one thread changes it (the collector, under the sampler's lock). Entries below a count
 * that was read under that lock never change again until the reset, and may be read without it.
 */
#ifndef COPPER_STACK_TABLE_H
#define COPPER_STACK_TABLE_H

#include "ring.h"

#define COPPER_STACKS_MAX       65536u     /* distinct stacks */
#define COPPER_STACK_FRAMES_MAX (2u << 20) /* frames of all of them together: 16 MiB */
#define COPPER_STACK_NAMES_MAX  4096u      /* distinct thread names */

struct cu__stack {
    uint64_t hash;
    uint32_t first;     /* of its frames in the table's array */
    uint16_t nframes;
    uint8_t here;       /* enum cu_here_kind */
    bool is_cut;        /* does not reach the outermost frame */
    uint32_t name;      /* thread name, index; 0: none */
    const void *labels; /* struct cu_labels */
};

struct cu__stack_table {
    struct cu__stack *stacks; /* COPPER_STACKS_MAX */
    uint32_t *index;          /* 2 * COPPER_STACKS_MAX; number + 1, 0: empty */
    cu_frame *frames;         /* COPPER_STACK_FRAMES_MAX */
    char (*names)[COPPER_THREAD_NAME];
    uint32_t nstacks, nframes, nnames;
};

/* 0 or -ENOMEM. */
int cu__stack_table_open(struct cu__stack_table *t);
/* Forgets all and gives the memory back to the kernel. */
void cu__stack_table_reset(struct cu__stack_table *t);

/* The number of the name, adding it on first sight; 0: empty or no room. */
uint32_t cu__stack_table_name(struct cu__stack_table *t, const char name[COPPER_THREAD_NAME]);
/* The number of the stack, adding it on first sight; -1: no room. key->first and hash are ignored. */
int64_t cu__stack_table_add(struct cu__stack_table *t, const struct cu__stack *key,
                            const cu_frame *frames);
/* 0 to 1: of the fullest of its three parts. */
double cu__stack_table_fullness(const struct cu__stack_table *t);
/* Bytes in use. */
uint64_t cu__stack_table_bytes(const struct cu__stack_table *t);

#endif
