/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: a bit of everything that the runtime asks the system for, by a program that expects each
 * of it to fail: fault.py makes them. It ends with 0 and says how many calls gave an error; any
 * that is not one of those announced ends it with 1.
 */
#include <copper/copper.h>
#include <copper/io.h>
#include <copper/signal.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COROUTINES 600

static int errors;

/* An announced error, or none: false and true. */
static bool good(const char *what, int64_t result)
{
    if (result >= 0) {
        return true;
    }
    if (result != -ENOMEM && result != -EAGAIN && result != -EMFILE && result != -ENFILE &&
        result != -ENOSPC && result != -ECANCELED) {
        fprintf(stderr, "%s: %s is no announced error\n", what, strerror((int)-result));
        _exit(1);
    }
    errors++;
    return false;
}

static void expect(bool is_so, const char *what)
{
    if (!is_so) {
        fprintf(stderr, "%s\n", what);
        _exit(1);
    }
}

static struct {
    cu_wg wg;
    cu_sem gate;
    cu_mutex mu;
    int started, ended; /* ended: guarded by mu */
} c;

static void stand(void *unused)
{
    volatile char deep[3 * 4096];
    (void)unused;
    deep[0] = deep[sizeof(deep) - 1] = 1;
    cu_sem_acquire(&c.gate, 1);
    cu_mutex_lock(&c.mu);
    c.ended++;
    cu_yield();
    cu_mutex_unlock(&c.mu);
    cu_wg_done(&c.wg);
}

/* Some with large stacks: more mappings. */
static void spawn_and_join(void)
{
    static const size_t sizes[] = {0, 64 << 10, 1 << 20, 0};
    for (int i = 0; i < COROUTINES; i++) {
        struct cu_go_options options = {COPPER_GO_OPTIONS, .stack_size = sizes[i % 4]};
        cu_wg_add(&c.wg, 1);
        if (good("cu_go_with", cu_go_with(stand, NULL, &options))) {
            c.started++;
        } else {
            cu_wg_done(&c.wg);
        }
        if (i % 100 == 0) {
            cu_sleep(COPPER_MS);
        }
    }
    cu_sem_release(&c.gate, c.started);
    cu_wg_wait(&c.wg);
    expect(c.ended == c.started, "a coroutine was lost");
}

static int ran; /* atomic */

static void job(void *unused)
{
    (void)unused;
    cu_sleep(100 * COPPER_US);
    __atomic_fetch_add(&ran, 1, __ATOMIC_RELAXED);
}

static void use_pool(void)
{
    int accepted = 0;
    cu_pool *pool = cu_pool_new(5, 10);
    if (pool == NULL) {
        errors++;
        return;
    }
    for (int i = 0; i < 40; i++) {
        accepted += good("cu_pool_submit", cu_pool_submit(pool, job, NULL));
    }
    cu_pool_free(pool);
    expect(ran == accepted, "a job was lost");
}

static int member(void *unused)
{
    (void)unused;
    return 0;
}

static void use_group(void)
{
    cu_group group = {0};
    bool is_good = true;
    for (int i = 0; i < 10; i++) {
        is_good &= good("cu_group_go", cu_group_go(&group, member, NULL));
    }
    expect((cu_group_wait(&group) == 0) == is_good, "a group forgot that it failed");
}

static int from, to;

static void write_late(void *unused)
{
    (void)unused;
    cu_sleep(COPPER_MS);
    ssize_t n = cu_write(to, "x", 1);
    if (n != -EPIPE) { /* the reader has given up */
        good("cu_write", n);
    }
    cu_close(to);
}

static void use_pipe(void)
{
    int fds[2];
    char byte;
    if (!good("cu_pipe", cu_pipe(fds))) {
        return;
    }
    from = fds[0], to = fds[1];
    if (good("cu_go", cu_go(write_late, NULL))) {
        good("cu_read", cu_read(from, &byte, 1));
    } else {
        cu_close(to);
    }
    cu_close(from);
}

static void use_signal(void)
{
    cu_chan *signals = cu_chan_new(sizeof(int), 1);
    if (signals == NULL) {
        errors++;
        return;
    }
    good("cu_signal_notify", cu_signal_notify(signals, (const int[]){SIGUSR1}, 1));
    cu_signal_stop(signals);
    cu_chan_unref(signals);
}

static void read_null(void *unused)
{
    (void)unused;
    usleep(100);
}

static bool look(const struct cu_g_info *g, void *unused)
{
    (void)unused;
    return g->id > 0;
}

static int app(void *unused)
{
    (void)unused;
    good("cu_label_set", cu_label_set("who", "app"));
    spawn_and_join();
    use_pool();
    use_group();
    use_pipe();
    use_signal();
    cu_blocking(read_null, NULL);
    cu_inspect_each(look, NULL);
    return 0;
}

int main(void)
{
    int status = cu_run(app, NULL);
    if (status < 0 && good("cu_run", status)) {
        return 1;
    }
    printf("%d errors\n", errors);
    return 0;
}
