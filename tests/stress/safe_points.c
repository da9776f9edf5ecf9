/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: safe points under stress. This file is compiled preemptible: each of its functions and
 * loops may give up the P for who waits, and nothing else may change there: not the thread, not
 * errno, no lock. A checkpoint lets others run, too, but may go on on another thread.
 *
 * That others run shows where a step computes until one of them has done something.
 */
#include <copper/go.h>
#include <copper/preempt.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "stress.h"

#define TURN_NS (15 * COPPER_MS) /* CPU time until a safe point is asked for, and somewhat more */

static struct {
    pthread_mutex_t mutex;
    uint64_t count, double_count; /* guarded by mutex */
    uint64_t added;               /* atomic: what count must be in the end */
} s;

static void begin(uint64_t seed)
{
    (void)seed;
    s = (typeof(s)){.mutex = PTHREAD_MUTEX_INITIALIZER};
}

static void verify(void)
{
    check(s.count == s.added && s.double_count == 2 * s.added);
}

/* Full of safe points; a compiler may not work it out beforehand. */
static uint64_t mix(uint64_t x, unsigned rounds)
{
    for (unsigned i = 0; i < rounds; i++) {
        x = (x ^ x >> 29) * 0xBF58476D1CE4E5B9u;
        __asm__ volatile("" : "+r"(x));
    }
    return x;
}

static void set_flag(void *flag)
{
    __atomic_store_n((uint32_t *)flag, 1, __ATOMIC_RELEASE);
}

/* Until a coroutine has run that with one P can only do so when this one gives way. */
static void compute_until_others_ran(uint64_t random)
{
    bool is_compiled = draw(&random, 2);
    uint32_t is_set = 0; /* atomic */
    cu_wg wg = {0};
    if (!may_keep_thread(TURN_NS)) {
        return;
    }
    cu_id self = cu_self();
    pid_t tid = gettid();
    uint64_t x = random;
    check(cu_wg_go(&wg, set_flag, &is_set) > 0);
    while (!__atomic_load_n(&is_set, __ATOMIC_ACQUIRE)) {
        x = mix(x, 2000);
        if (!is_compiled) {
            cu_checkpoint();
        }
    }
    check(cu_self() == self && (!is_compiled || gettid() == tid));
    cu_wg_wait(&wg);
}

/* As between two kernel slices: the same thread, errno, and results. */
static void compute_with_known_result(uint64_t random)
{
    unsigned rounds = may_keep_thread(COPPER_MS) ? 400000 : 4000;
    pid_t tid = gettid();
    errno = (int)(random % 100);
    uint64_t once = mix(random, rounds), again = mix(random, rounds);
    check(errno == (int)(random % 100) && gettid() == tid);
    check(once == again);
}

/* Whoever waits for the lock has lost its P, or the holder might not get one. */
static void hold_lock(uint64_t random)
{
    unsigned rounds = 1 + draw(&random, 20000);
    if (!can_hand_off()) {
        return;
    }
    check(pthread_mutex_lock(&s.mutex) == 0);
    s.count++;
    uint64_t x = mix(random, rounds);
    check(s.double_count == 2 * (s.count - 1));
    s.double_count += 2;
    check(x == mix(random, rounds));
    check(pthread_mutex_unlock(&s.mutex) == 0);
    __atomic_fetch_add(&s.added, 1, __ATOMIC_RELAXED);
}

static void pass_checkpoints(uint64_t random)
{
    bool is_locked = draw(&random, 4) == 0;
    cu_id self = cu_self();
    if (is_locked) {
        cu_lock_thread();
    }
    pid_t tid = gettid();
    uint64_t x = random;
    for (unsigned i = draw(&random, 200); i > 0; i--) {
        x = mix(x, 100);
        cu_checkpoint();
        check(cu_self() == self && (!is_locked || gettid() == tid));
    }
    if (is_locked) {
        cu_unlock_thread();
    }
}

static void step(uint64_t random)
{
    switch (draw(&random, 8)) {
    case 0:
    case 1:
        compute_until_others_ran(random);
        break;
    case 2:
        hold_lock(random);
        break;
    case 3:
    case 4:
        compute_with_known_result(random);
        break;
    default:
        pass_checkpoints(random);
    }
}

const struct concept safe_points_concept = {"safe points", begin, step, NULL, verify};
