/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: who held a P beyond its slice, and how long others waited for it: the `hog` profile.
 *
 * Design. For each P: who runs there since when, and the last few holds that were longer than a
 * slice. A coroutine that begins to run tells since when it was ready; the part of that wait in
 * which a hog held the P it waited for is charged to the hog. One that was stolen waited for the P
 * it was stolen from, whose holder may hold on: that is charged when the hold ends.
 *
 * A hog's stack is the one at its next stop. Where the P was taken from it, that is when it finds
 * out.
 *
 * Concurrency: fields of a P are written on the P's worker, except by a hand-off and by who
 * charges: all relaxed atomics. A charge that meets a hold just being replaced may go to its
 * successor.
 */
#include "delay_hooks.h"

#define HOLDS 4u

struct hold {
    _Atomic int64_t g, from_ns, to_ns; /* to_ns 0: none */
    _Atomic int64_t delay_ns;          /* charged before there was an entry */
    _Atomic uint64_t entry_function;
    _Atomic(struct cu__delay_entry *) entry; /* NULL: its stack is not known yet */
};

static struct p_state {
    _Atomic int64_t g, since_ns, pending_ns;
    _Atomic uint64_t entry_function;
    _Atomic int victim; /* whom it stole from last */
    _Atomic uint32_t nholds;
    struct hold holds[HOLDS];
} ps[COPPER_DELAY_P_MAX];

static struct p_state *state_of(int p)
{
    return p >= 0 && p < COPPER_DELAY_P_MAX ? &ps[p] : NULL;
}

static void settle(struct hold *hold, const struct cu__delay_stack *stack)
{
    struct cu__delay_key key = {.kind = COPPER_DELAY_HOG,
                                .is_cut = stack->is_cut,
                                .entry = atomic_load(&hold->entry_function),
                                .labels = stack->labels};
    int64_t delay_ns = atomic_exchange(&hold->delay_ns, 0);
    atomic_store(&hold->entry,
                 cu__delay_add(&key, stack->frames, stack->n, COPPER_DELAY_ONE, delay_ns));
}

/* Settles a hold whose hog never told where it was: under the function it was started with. */
static void settle_unseen(struct hold *hold)
{
    if (atomic_load(&hold->to_ns) != 0 && atomic_load(&hold->entry) == NULL) {
        struct cu__delay_stack stack = {.n = 1, .is_cut = true};
        stack.frames[0] = atomic_load(&hold->entry_function);
        settle(hold, &stack);
    }
}

static struct hold *end_hold(struct p_state *p, int64_t now, cu_id g)
{
    int64_t since_ns = atomic_load(&p->since_ns);
    int64_t pending_ns = atomic_exchange(&p->pending_ns, 0);
    if (atomic_exchange(&p->g, 0) != g || now - since_ns <= COPPER_SLICE_NS) {
        return NULL;
    }
    struct hold *hold = &p->holds[atomic_fetch_add(&p->nholds, 1) % HOLDS];
    settle_unseen(hold);
    atomic_store(&hold->to_ns, 0);
    atomic_store(&hold->entry, NULL);
    atomic_store(&hold->g, g);
    atomic_store(&hold->from_ns, since_ns);
    atomic_store(&hold->entry_function, atomic_load(&p->entry_function));
    atomic_store(&hold->delay_ns, pending_ns);
    atomic_store(&hold->to_ns, now);
    return hold;
}

static void charge(struct hold *hold, int64_t ready_ns, int64_t now)
{
    int64_t from_ns = atomic_load(&hold->from_ns), to_ns = atomic_load(&hold->to_ns);
    int64_t begin = ready_ns > from_ns ? ready_ns : from_ns;
    int64_t end = now < to_ns ? now : to_ns;
    if (to_ns == 0 || end <= begin) {
        return;
    }
    struct cu__delay_entry *entry = atomic_load(&hold->entry);
    if (entry) {
        cu__delay_more(entry, 0, end - begin);
    } else {
        atomic_fetch_add(&hold->delay_ns, end - begin);
    }
}

static void charge_holder(struct p_state *p, int64_t ready_ns, int64_t now)
{
    int64_t since_ns = atomic_load(&p->since_ns);
    int64_t begin = ready_ns > since_ns ? ready_ns : since_ns;
    if (atomic_load(&p->g) != 0 && now > begin) {
        atomic_fetch_add(&p->pending_ns, now - begin);
    }
}

void cu__hog_running(int64_t now, const struct cu_resume *resume)
{
    struct p_state *p = state_of(resume->p);
    if (!p) {
        return;
    }
    if (resume->ready_ns) {
        bool is_stolen = resume->cause == COPPER_CAUSE_STOLEN;
        struct p_state *waited_for = is_stolen ? state_of(atomic_load(&p->victim)) : p;
        for (unsigned i = 0; waited_for && i < HOLDS; i++) {
            charge(&waited_for->holds[i], resume->ready_ns, now);
        }
        if (waited_for && waited_for != p) {
            charge_holder(waited_for, resume->ready_ns, now);
        }
    }
    atomic_store(&p->pending_ns, 0);
    atomic_store(&p->since_ns, now);
    atomic_store(&p->entry_function, (uint64_t)(uintptr_t)resume->entry);
    atomic_store(&p->g, resume->g);
}

void cu__hog_stopped(int64_t now, cu_id g, int p, cu__delay_walk_here *walk)
{
    struct p_state *state = state_of(p);
    struct hold *hold = state ? end_hold(state, now, g) : NULL;
    if (hold && walk) {
        struct cu__delay_stack stack;
        walk(&stack);
        settle(hold, &stack);
    } else if (hold) {
        settle_unseen(hold);
    }
}

void cu__hog_handed_off(int64_t now, cu_id g, int p)
{
    struct p_state *state = state_of(p);
    if (state) {
        end_hold(state, now, g);
    }
}

void cu__hog_preempted(cu_id g, int p, cu__delay_walk_here *walk)
{
    struct p_state *state = state_of(p);
    for (unsigned i = 0; state && i < HOLDS; i++) {
        struct hold *hold = &state->holds[i];
        if (atomic_load(&hold->to_ns) != 0 && atomic_load(&hold->g) == g &&
            atomic_load(&hold->entry) == NULL) {
            struct cu__delay_stack stack;
            walk(&stack);
            settle(hold, &stack);
        }
    }
}

void cu__hog_stolen(int thief, int victim)
{
    struct p_state *p = state_of(thief);
    if (p) {
        atomic_store(&p->victim, victim);
    }
}

void cu__hog_forget(void)
{
    for (int i = 0; i < COPPER_DELAY_P_MAX; i++) {
        atomic_store(&ps[i].g, 0);
        for (unsigned j = 0; j < HOLDS; j++) {
            settle_unseen(&ps[i].holds[j]);
            atomic_store(&ps[i].holds[j].to_ns, 0);
        }
    }
}
