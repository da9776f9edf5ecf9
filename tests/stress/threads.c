/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what keeps a thread to itself, under stress: coroutines that compute, sleep in the
 * kernel (announced or not), or are locked to their thread. The others go on all the same, and
 * nobody loses its way back.
 *
 * Some steps wait in the kernel for what only another coroutine does: they end only because the P
 * moves on. So they are left out where no P is taken away: as many of them as there are P would
 * wait for ever for writers that nobody may run.
 */
#include <copper/blocking.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "stress.h"

#define READERS_MAX 16

/* Those that keep a thread in a read; must stay far from COPPER_MAXTHREADS. */
static cu_sem readers;
static uint64_t locked_now; /* atomic */

static void begin(uint64_t seed)
{
    (void)seed;
    readers = (cu_sem){0};
    cu_sem_init(&readers, READERS_MAX);
}

static void verify(void)
{
    check(cu_sem_units(&readers) == READERS_MAX);
    check(locked_now == 0);
}

static void sleep_in_kernel(void *us)
{
    usleep((unsigned)(uintptr_t)us);
}

/* It may call the runtime, too. */
static void sleep_both_ways(void *us)
{
    usleep((unsigned)(uintptr_t)us);
    cu_sleep((int64_t)(uintptr_t)us * COPPER_US);
    usleep((unsigned)(uintptr_t)us);
}

struct line {
    int fds[2];
    unsigned kind;
    char byte;
};

static void write_byte(void *arg)
{
    struct line *l = arg;
    char byte = 'x';
    cu_yield();
    check(write(l->fds[1], &byte, 1) == 1);
}

static void read_byte(void *arg)
{
    struct line *l = arg;
    check(read(l->fds[0], &l->byte, 1) == 1);
}

/* Reads in the kernel what another coroutine will write. */
static void read_from_coroutine(uint64_t random)
{
    struct line l = {.kind = draw(&random, 3)};
    if (!can_hand_off() || (l.kind == 2 && !may_keep_thread(3 * COPPER_MS))) { /* until noticed */
        return;
    }
    cu_wg wg = {0};
    check(cu_sem_acquire(&readers, 1) == 0);
    check(pipe(l.fds) == 0);
    check(cu_wg_go(&wg, write_byte, &l) > 0);
    if (l.kind == 0) {
        cu_blocking(read_byte, &l);
    } else if (l.kind == 1) {
        cu_syscall_enter();
        read_byte(&l);
        cu_syscall_exit();
    } else {
        read_byte(&l);
    }
    check(l.byte == 'x');
    cu_wg_wait(&wg);
    check(close(l.fds[0]) == 0 && close(l.fds[1]) == 0);
    cu_sem_release(&readers, 1);
}

static pid_t own_thread(void)
{
    return gettid();
}

static void be_locked(uint64_t random)
{
    if (__atomic_add_fetch(&locked_now, 1, __ATOMIC_RELAXED) <= 8) {
        cu_lock_thread();
        pid_t tid = own_thread();
        for (unsigned i = draw(&random, 4); i > 0; i--) {
            dawdle(next_random(&random));
            check(own_thread() == tid);
        }
        cu_unlock_thread();
    }
    __atomic_sub_fetch(&locked_now, 1, __ATOMIC_RELAXED);
}

static void *send_from_thread(void *arg)
{
    cu_wg_done(arg);
    return NULL;
}

/* A thread of the program's own wakes a coroutine. */
static void meet_thread(void)
{
    cu_wg wg = {0};
    pthread_t thread;
    cu_wg_add(&wg, 1);
    check(pthread_create(&thread, NULL, send_from_thread, &wg) == 0);
    cu_wg_wait(&wg);
    pthread_join(thread, NULL);
}

static void step(uint64_t random)
{
    void *us = (void *)(uintptr_t)draw(&random, 2000);
    switch (draw(&random, 16)) {
    case 0:
        compute((int64_t)draw(&random, 15) * COPPER_MS);
        break;
    case 1:
        if (may_keep_thread(3 * COPPER_MS)) {
            usleep(draw(&random, 3000));
        }
        break;
    case 2:
        cu_syscall_enter();
        usleep(draw(&random, 1000));
        cu_syscall_exit();
        break;
    case 3:
        cu_blocking(sleep_both_ways, us);
        break;
    case 4:
        meet_thread();
        break;
    case 5:
    case 6:
    case 7:
        be_locked(random);
        break;
    case 8:
    case 9:
    case 10:
        read_from_coroutine(random);
        break;
    default:
        cu_blocking(sleep_in_kernel, us);
    }
}

const struct concept threads_concept = {"threads", begin, step, NULL, verify};
