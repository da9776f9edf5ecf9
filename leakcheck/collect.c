/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose. One pass over the live coroutines: which of them count, in groups of equal ones.
 *
 * Design. A coroutine stands still while it is visited, so its stack is walked right there, over
 * the live memory. What makes two of them equal is compared as raw words (state, reason, frames,
 * spawn site, where the object was made); nothing is named here, so that a hundred thousand
 * coroutines in one group cost a walk and a hash each.
 *
 * Invariants. slots holds ngroups pointers, at most half of capacity; count is the sum of the
 * groups' counts.
 */
#include "leak_int.h"

#include <copper/time.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY 64 /* power of two */

struct look {
    const struct cu__leak_query *query;
    struct cu__leak_set *set;
    int64_t now;
    uint32_t epoch;
    uint32_t runtime; /* module of the runtime's library; 0: it is linked into the program */
    cu_frame frames[COPPER_LEAK_FRAMES_MAX];
    unsigned nframes;
};

/* How a wait got from cu_recv to the scheduler depends on what its thread was going through. It is
 * the same wait to who reads the report, which begins at the caller. */
static void leave_runtime(struct look *look)
{
    unsigned n = 0;
    while (n < look->nframes && COPPER_FRAME_MODULE(look->frames[n]) == look->runtime)
        n++;
    if (look->runtime == 0 || n == look->nframes)
        return;
    look->nframes -= n;
    memmove(look->frames, look->frames + n, look->nframes * sizeof *look->frames);
}

static void walk(struct look *look, const struct cu_g_info *g)
{
    look->nframes = 0;
    if (!g->has_regs || !g->is_started)
        return;
    struct cu_walk w = {
        .regs = {g->regs.pc, g->regs.sp, g->regs.bp, g->regs.bx, g->regs.r12, g->regs.r13,
                 g->regs.r14, g->regs.r15},
        .lo = g->regs.sp,
        .hi = g->stack_hi,
        .is_call_site = true,
        .frames = look->frames,
        .max = COPPER_LEAK_FRAMES_MAX,
    };
    cu_stack_walk_sig(&w);
    if (w.end == COPPER_WALK_MISS && w.regs.sp >= g->regs.sp && w.regs.sp < g->stack_hi)
        cu_stack_walk_copy(&w, (const void *)(uintptr_t)w.regs.sp, w.regs.sp,
                           g->stack_hi - w.regs.sp, look->epoch);
    look->nframes = w.n;
    leave_runtime(look);
}

static uint64_t mix(uint64_t h, uint64_t word)
{
    h = (h ^ word) * 0x9e3779b97f4a7c15u;
    return h ^ (h >> 29);
}

static uint64_t hash_of(const struct look *look, const struct cu_g_info *g)
{
    uint64_t h = mix((uint64_t)g->state, (uint64_t)g->reason);
    h = mix(h, (uintptr_t)g->site);
    h = mix(h, (uintptr_t)g->entry);
    h = mix(h, (uintptr_t)g->object.site);
    h = mix(h, (uint64_t)g->object.kind);
    for (unsigned i = 0; i < look->nframes; i++)
        h = mix(h, look->frames[i]);
    return h;
}

static bool is_equal(const struct cu__leak_group *group, uint64_t hash, const struct look *look,
                     const struct cu_g_info *g)
{
    return group->hash == hash && group->shown.state == g->state &&
           group->shown.reason == g->reason && group->shown.site == g->site &&
           group->entry == g->entry && group->shown.object.site == g->object.site &&
           group->shown.object.kind == g->object.kind && group->nframes == look->nframes &&
           memcmp(group->frames, look->frames, look->nframes * sizeof *look->frames) == 0;
}

/* The slot of an equal group, or the free one where it belongs. */
static struct cu__leak_group **find_slot(struct cu__leak_set *set, uint64_t hash,
                                         const struct look *look, const struct cu_g_info *g)
{
    size_t mask = set->capacity - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask)
        if (set->slots[i] == NULL || is_equal(set->slots[i], hash, look, g))
            return &set->slots[i];
}

static bool make_room(struct cu__leak_set *set)
{
    if (2 * (set->ngroups + 1) <= set->capacity)
        return true;
    size_t capacity = set->capacity ? 2 * set->capacity : FIRST_CAPACITY;
    struct cu__leak_group **slots = calloc(capacity, sizeof *slots);
    if (slots == NULL)
        return false;
    for (size_t i = 0; i < set->capacity; i++) {
        struct cu__leak_group *group = set->slots[i];
        if (group == NULL)
            continue;
        size_t at = group->hash & (capacity - 1);
        while (slots[at] != NULL)
            at = (at + 1) & (capacity - 1);
        slots[at] = group;
    }
    free(set->slots);
    set->slots = slots;
    set->capacity = capacity;
    return true;
}

static struct cu__leak_group *new_group(const struct look *look, const struct cu_g_info *g,
                                        uint64_t hash, bool is_stranded)
{
    size_t bytes = look->nframes * sizeof *look->frames;
    struct cu__leak_group *group = calloc(1, sizeof *group + bytes);
    if (group == NULL)
        return NULL;
    group->hash = hash;
    group->entry = g->entry;
    group->nframes = look->nframes;
    memcpy(group->frames, look->frames, bytes);
    group->shown.verdict = is_stranded ? COPPER_LEAK_STRANDED : COPPER_LEAK_RUNNING;
    group->shown.state = g->state;
    group->shown.reason = g->state == COPPER_G_WAITING ? g->reason : COPPER_WAIT_NONE;
    group->shown.site = g->site;
    group->shown.object = g->object;
    group->shown.age_min_ns = INT64_MAX;
    return group;
}

static void count_in(struct cu_leak_group *group, const struct cu_g_info *g, int64_t now)
{
    int64_t age = now > g->since_ns ? now - g->since_ns : 0;
    if (age < group->age_min_ns)
        group->age_min_ns = age;
    if (age > group->age_max_ns)
        group->age_max_ns = age;
    if (group->nids < COPPER_LEAK_IDS_MAX)
        group->ids[group->nids++] = g->id;
    if (g->object.address != group->object.address)
        group->has_many_objects = true;
    group->count++;
}

static bool is_of_query(const struct cu__leak_query *q, const struct cu_g_info *g)
{
    return !g->is_daemon && g->id != q->self && (q->is_main_counted || !g->is_main) &&
           (q->scope == 0 || g->scope == q->scope) &&
           (q->ignore_current == NULL || !cu__leak_snapshot_has(q->ignore_current, g->id));
}

/* Somebody who waits for quiescence is a check of its own: it goes on by itself; and so does who
 * waits for a blocking call. */
static bool is_parked_for_good(const struct cu_g_info *g)
{
    return g->state == COPPER_G_WAITING && g->deadline_ns == 0 &&
           g->reason != COPPER_WAIT_QUIESCE && g->reason != COPPER_WAIT_SYSCALL;
}

static bool visit(const struct cu_g_info *g, void *arg)
{
    struct look *look = arg;
    struct cu__leak_set *set = look->set;
    if (!is_of_query(look->query, g))
        return true;
    bool is_stranded = is_parked_for_good(g);
    if (g->state != COPPER_G_WAITING)
        set->moving++;
    if (look->query->is_stranded_only && !is_stranded)
        return true;
    struct cu_g_info key = *g;
    if (key.state != COPPER_G_WAITING)
        key.reason = COPPER_WAIT_NONE;
    if (key.object.address == NULL)
        key.object.kind = COPPER_OBJECT_NONE; /* a nil channel */
    walk(look, &key);
    uint64_t hash = hash_of(look, &key);
    if (!make_room(set)) {
        set->is_out_of_memory = true;
        return false;
    }
    struct cu__leak_group **slot = find_slot(set, hash, look, &key);
    if (*slot == NULL) {
        *slot = new_group(look, &key, hash, is_stranded);
        if (*slot == NULL) {
            set->is_out_of_memory = true;
            return false;
        }
        set->ngroups++;
    }
    count_in(&(*slot)->shown, &key, look->now);
    set->count++;
    return true;
}

int cu__leak_look(const struct cu__leak_query *query, struct cu__leak_set *out)
{
    *out = (struct cu__leak_set){0};
    cu_stacks_prepare(); /* where it fails, walks end in MISS and go the slow way */
    struct look look = {
        .query = query, .set = out, .now = cu_now(), .epoch = cu_modules_epoch_sig()};
    const struct cu_module *runtime = cu_module_at((uint64_t)(uintptr_t)cu_inspect_each);
    look.runtime = runtime && !runtime->is_main ? runtime->id : 0;
    int64_t visited = cu_inspect_each(visit, &look);
    if (out->is_out_of_memory)
        return -ENOMEM;
    return visited < 0 ? (int)visited : 0;
}

void cu__leak_set_free(struct cu__leak_set *set)
{
    for (size_t i = 0; i < set->capacity; i++)
        free(set->slots[i]);
    free(set->slots);
    *set = (struct cu__leak_set){0};
}
