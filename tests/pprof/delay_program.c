/* SPDX-License-Identifier: Apache-2.0
 *
 * Waits and delays of known length: delay_program. Serves, waits in channels, for a mutex and behind a
 * hog (one P, no hand-off), measures each itself, and prints the address and what it measured:
 * block, mutex, schedule and hog in nanoseconds. Ends when its standard input does; until then a
 * coroutine sleeps over and over, and each line of input starts a mutex contention anew.
 */
#include "http_burn.h"

#include <copper/chan.h>
#include <copper/go.h>
#include <copper/label.h>
#include <copper/profiler.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WAITS   15
#define HOLD_NS (20 * COPPER_MS)
#define HOG_NS  (50 * COPPER_MS)
#define DELAYED 8

static int64_t block_ns, mutex_ns, schedule_ns, hog_ns;
static int64_t asked_ns, spawned_ns[DELAYED];
static cu_chan *numbers, *done;
static cu_mutex mutex;
static cu_rwmutex rwmutex;
static cu_sem place = COPPER_SEM_INIT(1);

__attribute__((noinline)) static void wait_for_number(void)
{
    int n;
    asked_ns = cu_now();
    cu_recv(numbers, &n);
    burn_sink++;
}

static void receiver(void *arg)
{
    (void)arg;
    cu_label_set("stage", "receives\"all\"");
    cu_label_set("reason", "its own"); /* which ours wins over */
    for (int i = 0; i < WAITS; i++) {
        wait_for_number();
    }
    cu_send(done, &(int){0});
}

static void wait_in_channels(void)
{
    cu_go(receiver, NULL);
    for (int i = 0; i < WAITS; i++) {
        cu_sleep(HOLD_NS);
        block_ns += cu_now() - asked_ns;
        cu_send(numbers, &i);
    }
    cu_recv(done, NULL);
}

static void locker(void *arg)
{
    (void)arg;
    asked_ns = cu_now();
    cu_mutex_lock(&mutex);
    cu_mutex_unlock(&mutex);
    cu_send(done, &(int){0});
}

/* Giving back is the last thing that these do: a compiler would leave them with a jump. */
__attribute__((noinline)) static void unlock_late(void)
{
    cu_mutex_lock(&mutex);
    cu_go(locker, NULL);
    cu_sleep(HOLD_NS);
    mutex_ns += cu_now() - asked_ns;
    cu_mutex_unlock(&mutex);
}

static void writer(void *arg)
{
    (void)arg;
    cu_rwmutex_lock(&rwmutex);
    cu_rwmutex_unlock(&rwmutex);
    cu_send(done, &(int){0});
}

__attribute__((noinline)) static void write_unlock_late(void)
{
    cu_rwmutex_lock(&rwmutex);
    cu_go(writer, NULL);
    cu_sleep(HOLD_NS);
    cu_rwmutex_unlock(&rwmutex);
}

__attribute__((noinline)) static void read_unlock_late(void)
{
    cu_rwmutex_rlock(&rwmutex);
    cu_go(writer, NULL);
    cu_sleep(HOLD_NS);
    cu_rwmutex_runlock(&rwmutex);
}

static void taker(void *arg)
{
    (void)arg;
    cu_sem_acquire(&place, 1);
    cu_sem_release(&place, 1);
    cu_send(done, &(int){0});
}

__attribute__((noinline)) static void release_late(void)
{
    cu_sem_acquire(&place, 1);
    cu_go(taker, NULL);
    cu_sleep(HOLD_NS);
    cu_sem_release(&place, 1);
}

static void contend(void)
{
    COPPER_LABEL_SCOPE("stage", "contends");
    for (int i = 0; i < WAITS; i++) {
        unlock_late();
        cu_recv(done, NULL);
    }
    static void (*const others[])(void) = {write_unlock_late, read_unlock_late, release_late};
    for (int i = 0; i < 3; i++) {
        others[i]();
        cu_recv(done, NULL);
    }
}

static void delayed(void *arg)
{
    schedule_ns += cu_now() - *(int64_t *)arg;
}

__attribute__((noinline)) static void hog_the_p(void)
{
    COPPER_LABEL_SCOPE("stage", "hogs");
    for (int i = 0; i < DELAYED; i++) {
        spawned_ns[i] = cu_now();
        cu_go(delayed, &spawned_ns[i]);
    }
    int64_t end = cu_now() + HOG_NS;
    while (cu_now() < end) {
        burn_once();
    }
    for (int i = 0; i < DELAYED; i++) {
        hog_ns += cu_now() - spawned_ns[i];
    }
    cu_sleep(HOLD_NS); /* stops here; the delayed run meanwhile */
    burn_sink++;
}

/* Compiled with optimisation, these two are not on their stacks any more while they sleep. */
static void hog_then_sleep(void *arg)
{
    (void)arg;
    int64_t end = cu_now() + HOG_NS;
    while (cu_now() < end) {
        burn_once();
    }
    cu_sleep(HOLD_NS);
}

static void sleep_for_ever(void *arg)
{
    (void)arg;
    cu_sleep(3600 * COPPER_SEC);
}

static void nothing(void *arg)
{
    (void)arg;
}

static void leave_by_a_jump(void)
{
    cu_go(hog_then_sleep, NULL);
    cu_go(nothing, NULL);
    cu_go(sleep_for_ever, NULL);
    cu_sleep(HOG_NS + 2 * HOLD_NS);
}

static void go_on(void *arg)
{
    (void)arg;
    for (;;) {
        unlock_late();
        cu_recv(done, NULL);
    }
}

static void run(void *arg)
{
    wait_in_channels();
    contend();
    hog_the_p();
    leave_by_a_jump();
    *(volatile int *)arg = 1;
}

int main(void)
{
    static volatile int is_done;
    setenv("COPPER_MAXPROCS", "1", 1);
    setenv("COPPER_HANDOFF", "0", 0);
    numbers = cu_chan_new(sizeof(int), 0);
    done = cu_chan_new(sizeof(int), 0);
    if (cu_profile_block_rate(1) || cu_profile_mutex_fraction(1) || cu_profile_schedule_rate(1) ||
        (!cu_pprof_address() && cu_pprof_serve("127.0.0.1:0") != 0)) {
        return 1;
    }
    cu_go(run, (void *)&is_done);
    for (int i = 0; !is_done && i < 3000; i++) {
        usleep(10000);
    }
    cu_profile_block_rate(0);
    cu_profile_schedule_rate(0);
    if (cu_profile_mutex_fraction(0) != 1) {
        return 1;
    }
    printf("%s\nblock %lld\nmutex %lld\nschedule %lld\nhog %lld\n", cu_pprof_address(),
           (long long)block_ns, (long long)mutex_ns, (long long)schedule_ns, (long long)hog_ns);
    fflush(stdout);
    cu_go(go_on, NULL);
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0) {
    }
    return 0;
}
