/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: a program whose coroutines do what their own random numbers say; it prints all
 * that the scheduler did, seen through hooks.h, with the times that coroutines see, and one of them
 * has a thread to itself. replay.py compares what seeds print.
 */
#include <copper/copper.h>
#include <stdio.h>

#define WORKERS 12
#define STEPS   60

static cu_chan *channels[3];
static cu_mutex mutexes[2];
static int64_t start_ns;

static void note(int64_t now, const char *event, cu_id g, uint64_t more)
{
    printf("%lld %s %llu %llu\n", (long long)(now - start_ns), event, (unsigned long long)g,
           (unsigned long long)more);
}

static void created(void *tool, int64_t now, cu_id g, cu_id parent, const struct cu_site *site)
{
    (void)tool, (void)site;
    note(now, "created", g, (uint64_t)parent);
}

static void ready(void *tool, int64_t now, cu_id g, cu_id by)
{
    (void)tool;
    note(now, "ready", g, (uint64_t)by);
}

static void running(void *tool, int64_t now, const struct cu_resume *resume)
{
    (void)tool;
    note(now, "running", resume->g, (uint64_t)resume->waker);
}

static void parked(void *tool, int64_t now, cu_id g, int p, enum cu_wait_reason reason,
                   const void *object, int64_t deadline_ns)
{
    (void)tool, (void)p, (void)object, (void)deadline_ns;
    note(now, "parked", g, reason);
}

static void yielded(void *tool, int64_t now, cu_id g, int p)
{
    (void)tool, (void)p;
    note(now, "yielded", g, 0);
}

static void exited(void *tool, int64_t now, cu_id g, int p)
{
    (void)tool, (void)p;
    note(now, "exited", g, 0);
}

static const struct cu_hooks hooks = {.version = COPPER_HOOKS_VERSION,
                                      .size = sizeof(struct cu_hooks),
                                      .created = created,
                                      .ready = ready,
                                      .running = running,
                                      .parked = parked,
                                      .yielded = yielded,
                                      .exited = exited};

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static void child(void *arg)
{
    cu_sleep((int64_t)(intptr_t)arg % 7 * COPPER_MS);
    cu_yield();
}

static void worker(void *arg)
{
    uint64_t state = (uint64_t)(uintptr_t)arg;
    int value = 0;
    for (int i = 0; i < STEPS; i++) {
        uint64_t random = next_random(&state);
        cu_mutex *mutex = &mutexes[random >> 8 & 1];
        switch (random % 6) {
        case 0:
            cu_yield();
            break;
        case 1:
            cu_sleep((int64_t)(random >> 8 & 1023) * COPPER_MS);
            break;
        case 2:
            cu_send(channels[random % 3], &value);
            break;
        case 3:
            cu_mutex_lock(mutex);
            cu_yield();
            cu_mutex_unlock(mutex);
            break;
        case 4:
            cu_go(child, (void *)(uintptr_t)(random >> 8 & 255));
            break;
        default:
            for (int64_t until = cu_now() + 50 * COPPER_US; cu_now() < until;) {
            }
        }
    }
}

/* Has a thread of its own, which goes to sleep and comes back while the others run. */
static void locked(void *arg)
{
    cu_lock_thread();
    worker(arg);
    cu_unlock_thread();
}

static void drain(void *arg)
{
    int value;
    while (cu_recv(arg, &value) == 0) {
        cu_yield();
    }
}

static int app(void *unused)
{
    (void)unused;
    start_ns = cu_now();
    cu_wg wg = {0};
    cu_hooks_attach(&hooks, NULL);
    for (int i = 0; i < 3; i++) {
        channels[i] = cu_chan_new(sizeof(int), (size_t)i);
        cu_go(drain, channels[i]);
    }
    for (uintptr_t i = 0; i < WORKERS; i++) {
        cu_wg_go(&wg, worker, (void *)(i + 1));
    }
    cu_wg_go(&wg, locked, (void *)(uintptr_t)(WORKERS + 1));
    cu_wg_wait(&wg);
    cu_hooks_detach(&hooks, NULL);
    printf("%lld ends\n", (long long)(cu_now() - start_ns));
    return 0;
}

int main(void)
{
    return cu_run(app, NULL);
}
