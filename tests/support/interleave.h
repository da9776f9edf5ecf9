/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: runs small concurrent programs in every order their atomic steps can take, on the real
 * code.
 *
 * Use: before the code under test is included, its atomic operations are redefined to call
 * interleave_step() first. Each thread of the program is a function on a stack of its own; a step
 * gives the control to the explorer, which decides who goes on. One run follows a list of such
 * decisions; the next run changes the last one that has an alternative left, until none has: a
 * search in depth of all orders.
 *
 * A switch away from a thread that could go on is a preemption; most bugs need few of them, and
 * their number is bounded so that longer programs stay searchable. Steps are sequentially
 * consistent: what weaker orders allow is not seen.
 *
 * A thread that spins for something another must do calls interleave_wait(): it is not chosen again
 * before another has made a step that was no such wait. When all wait for each other the run is a
 * deadlock and fails.
 */
#ifndef COPPER_TEST_INTERLEAVE_H
#define COPPER_TEST_INTERLEAVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

/* The thread sanitizer wants to be told of every change of stacks, and has no races to find in what
 * is one thread. */
#if defined(__SANITIZE_THREAD__)
#define INTERLEAVE_IS_POSSIBLE 0
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define INTERLEAVE_IS_POSSIBLE 0
#endif
#endif
#ifndef INTERLEAVE_IS_POSSIBLE
#define INTERLEAVE_IS_POSSIBLE 1
#endif

#define INTERLEAVE_THREADS 4
#define INTERLEAVE_STEPS   400
#define INTERLEAVE_STACK   (64u * 1024)

struct interleave_program {
    const char *name;
    void (*begin)(void);                       /* makes the state anew */
    void (*threads[INTERLEAVE_THREADS])(void); /* NULL: no more */
    bool (*is_right)(void);                    /* when all threads have ended */
    unsigned preemptions;                      /* at most */
};

static struct {
    ucontext_t explorer, thread[INTERLEAVE_THREADS];
    char stack[INTERLEAVE_THREADS][INTERLEAVE_STACK];
    bool has_ended[INTERLEAVE_THREADS], is_waiting[INTERLEAVE_THREADS];
    int current; /* -1: the explorer */
    void (*fn[INTERLEAVE_THREADS])(void);
    struct {
        uint8_t chosen[INTERLEAVE_STEPS];  /* number of the alternative taken */
        uint8_t choices[INTERLEAVE_STEPS]; /* how many there were */
        unsigned n;
    } path;
} interleave = {.current = -1};

static inline void interleave_step(void)
{
    int self = interleave.current;
    if (self >= 0) {
        swapcontext(&interleave.thread[self], &interleave.explorer);
    }
}

static inline void interleave_wait(void)
{
    if (interleave.current >= 0) {
        interleave.is_waiting[interleave.current] = true;
        interleave_step();
    }
}

static void interleave_run_thread(void)
{
    int self = interleave.current;
    interleave.fn[self]();
    interleave.has_ended[self] = true;
}

static bool interleave_can_run(int i)
{
    return interleave.fn[i] && !interleave.has_ended[i] && !interleave.is_waiting[i];
}

static void interleave_start(const struct interleave_program *p)
{
    memset(interleave.has_ended, 0, sizeof(interleave.has_ended));
    memset(interleave.is_waiting, 0, sizeof(interleave.is_waiting));
    for (int i = 0; i < INTERLEAVE_THREADS; i++) {
        interleave.fn[i] = p->threads[i];
        if (!p->threads[i]) {
            interleave.has_ended[i] = true;
            continue;
        }
        getcontext(&interleave.thread[i]);
        interleave.thread[i].uc_stack.ss_sp = interleave.stack[i];
        interleave.thread[i].uc_stack.ss_size = INTERLEAVE_STACK;
        interleave.thread[i].uc_link = &interleave.explorer;
        makecontext(&interleave.thread[i], interleave_run_thread, 0);
    }
}

/* Who may go on: the one that ran last first, and others while preemptions are left. */
static unsigned interleave_alternatives(int last, unsigned left, int out[INTERLEAVE_THREADS])
{
    unsigned n = 0;
    bool can_stay = last >= 0 && interleave_can_run(last);
    if (can_stay) {
        out[n++] = last;
    }
    for (int i = 0; i < INTERLEAVE_THREADS && (!can_stay || left); i++) {
        if (i != last && interleave_can_run(i)) {
            out[n++] = i;
        }
    }
    return n;
}

/* One run along the path and beyond it, by first choices. False: stuck. */
static bool interleave_follow(const struct interleave_program *p)
{
    int last = -1;
    unsigned left = p->preemptions;
    interleave_start(p);
    for (unsigned step = 0;; step++) {
        int who[INTERLEAVE_THREADS];
        unsigned n = interleave_alternatives(last, left, who);
        if (n == 0) {
            for (int i = 0; i < INTERLEAVE_THREADS; i++) {
                if (!interleave.has_ended[i]) {
                    return false;
                }
            }
            return true;
        }
        if (step == INTERLEAVE_STEPS) {
            fprintf(stderr, "%s: more than %d steps\n", p->name, INTERLEAVE_STEPS);
            abort();
        }
        if (step == interleave.path.n) {
            interleave.path.chosen[step] = 0;
            interleave.path.n++;
        }
        interleave.path.choices[step] = (uint8_t)n;
        int next = who[interleave.path.chosen[step]];
        left -= last >= 0 && next != last && interleave_can_run(last);
        interleave.current = next;
        swapcontext(&interleave.explorer, &interleave.thread[next]);
        interleave.current = -1;
        /* whoever waits may look again once another has done something */
        bool did_nothing = interleave.is_waiting[next];
        for (int i = 0; i < INTERLEAVE_THREADS && !did_nothing; i++) {
            interleave.is_waiting[i] = false;
        }
        last = next;
    }
}

/* The next path in depth. False: there is none. */
static bool interleave_advance(void)
{
    while (interleave.path.n) {
        unsigned at = interleave.path.n - 1;
        if (interleave.path.chosen[at] + 1u < interleave.path.choices[at]) {
            interleave.path.chosen[at]++;
            return true;
        }
        interleave.path.n--;
    }
    return false;
}

/* Runs every order. The number of orders, or 0 after printing the one that went wrong. */
static uint64_t interleave_explore(const struct interleave_program *p)
{
    uint64_t orders = 0;
    interleave.path.n = 0;
    do {
        p->begin();
        bool has_ended = interleave_follow(p);
        orders++;
        if (!has_ended || !p->is_right()) {
            fprintf(stderr, "%s: order %llu is %s:", p->name, (unsigned long long)orders,
                    has_ended ? "wrong" : "stuck");
            for (unsigned i = 0; i < interleave.path.n; i++) {
                fprintf(stderr, " %u/%u", interleave.path.chosen[i], interleave.path.choices[i]);
            }
            fputc('\n', stderr);
            return 0;
        }
    } while (interleave_advance());
    return orders;
}

#endif
