/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see stack_table.h.
 */
#include "stack_table.h"

#include "mix.h"
#include "pages.h"

#include <errno.h>
#include <string.h>

#define COPPER_INDEX_SIZE (2u * COPPER_STACKS_MAX)

static const size_t stacks_bytes = sizeof(struct cu__stack) * COPPER_STACKS_MAX;
static const size_t index_bytes = sizeof(uint32_t) * COPPER_INDEX_SIZE;
static const size_t frames_bytes = sizeof(cu_frame) * COPPER_STACK_FRAMES_MAX;
static const size_t names_bytes = (size_t)COPPER_THREAD_NAME * COPPER_STACK_NAMES_MAX;

int cu__stack_table_open(struct cu__stack_table *t)
{
    if (t->nnames > 0) {
        return 0; /* it is open, and may be being read */
    }
    /* what an earlier, failed attempt mapped is used again */
    t->stacks = t->stacks ? t->stacks : cu__pages_map(stacks_bytes);
    t->index = t->index ? t->index : cu__pages_map(index_bytes);
    t->frames = t->frames ? t->frames : cu__pages_map(frames_bytes);
    t->names = t->names ? t->names : cu__pages_map(names_bytes);
    if (!t->stacks || !t->index || !t->frames || !t->names) {
        return -ENOMEM;
    }
    t->nnames = 1; /* 0 means no name */
    return 0;
}

void cu__stack_table_reset(struct cu__stack_table *t)
{
    cu__pages_empty(t->stacks, stacks_bytes);
    cu__pages_empty(t->index, index_bytes);
    cu__pages_empty(t->frames, frames_bytes);
    cu__pages_empty(t->names, names_bytes);
    t->nstacks = 0;
    t->nframes = 0;
    t->nnames = t->nnames > 0; /* that none is there, if it is open */
}

static uint64_t hash_of(const struct cu__stack *key, const cu_frame *frames)
{
    uint64_t hash = cu__mix(key->nframes, (uint64_t)(uintptr_t)key->labels);
    hash = cu__mix(hash, ((uint64_t)key->name << 16) | ((uint64_t)key->here << 8) | key->is_cut);
    for (unsigned i = 0; i < key->nframes; i++) {
        hash = cu__mix(hash, frames[i]);
    }
    return hash;
}

static bool is_same(const struct cu__stack_table *t, const struct cu__stack *have,
                    const struct cu__stack *key, uint64_t hash, const cu_frame *frames)
{
    return have->hash == hash && have->nframes == key->nframes && have->here == key->here &&
           have->is_cut == key->is_cut && have->name == key->name && have->labels == key->labels &&
           memcmp(t->frames + have->first, frames, sizeof(cu_frame) * key->nframes) == 0;
}

int64_t cu__stack_table_add(struct cu__stack_table *t, const struct cu__stack *key,
                            const cu_frame *frames)
{
    uint64_t hash = hash_of(key, frames);
    uint32_t at = (uint32_t)(hash % COPPER_INDEX_SIZE);
    /* ends: the index has twice as many places as there can be stacks */
    while (t->index[at]) {
        uint32_t number = t->index[at] - 1;
        if (is_same(t, &t->stacks[number], key, hash, frames)) {
            return number;
        }
        at = (at + 1) % COPPER_INDEX_SIZE;
    }
    if (t->nstacks == COPPER_STACKS_MAX || key->nframes > COPPER_STACK_FRAMES_MAX - t->nframes) {
        return -1;
    }
    struct cu__stack *added = &t->stacks[t->nstacks];
    *added = *key;
    added->hash = hash;
    added->first = t->nframes;
    memcpy(t->frames + t->nframes, frames, sizeof(cu_frame) * key->nframes);
    t->nframes += key->nframes;
    t->index[at] = ++t->nstacks;
    return t->nstacks - 1;
}

uint32_t cu__stack_table_name(struct cu__stack_table *t, const char name[COPPER_THREAD_NAME])
{
    if (name[0] == '\0') {
        return 0;
    }
    /* few names exist, and the latest is the likeliest to come again */
    for (uint32_t i = t->nnames; i-- > 1;) {
        if (strncmp(t->names[i], name, COPPER_THREAD_NAME) == 0) {
            return i;
        }
    }
    if (t->nnames == COPPER_STACK_NAMES_MAX) {
        return 0;
    }
    memcpy(t->names[t->nnames], name, COPPER_THREAD_NAME);
    t->names[t->nnames][COPPER_THREAD_NAME - 1] = '\0';
    return t->nnames++;
}

double cu__stack_table_fullness(const struct cu__stack_table *t)
{
    double stacks = (double)t->nstacks / COPPER_STACKS_MAX;
    double frames = (double)t->nframes / COPPER_STACK_FRAMES_MAX;
    double names = (double)t->nnames / COPPER_STACK_NAMES_MAX;
    double most = stacks > frames ? stacks : frames;
    return most > names ? most : names;
}

uint64_t cu__stack_table_bytes(const struct cu__stack_table *t)
{
    return (uint64_t)t->nstacks * (sizeof(struct cu__stack) + 2 * sizeof(uint32_t)) +
           (uint64_t)t->nframes * sizeof(cu_frame) + (uint64_t)t->nnames * COPPER_THREAD_NAME;
}
