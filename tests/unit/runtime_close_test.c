/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: calls on a descriptor's number while close(2) of it runs. This program's own close(),
 * which the runtime calls too, can be held up before or after the kernel has taken the number back.
 */
#include <copper/inspect.h>
#include <copper/io.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <errno.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "coroutine_body.h"

enum where { BEFORE, AFTER }; /* ... the kernel takes the number back */

static struct {
    _Atomic int fd;        /* whose close is held up, once; -1: none */
    enum where where;      /* before fd */
    atomic_bool is_inside; /* it is held up */
    atomic_bool may_go;
} hold = {.fd = -1};

static void held_up(void)
{
    atomic_store(&hold.is_inside, true);
    while (!atomic_load(&hold.may_go)) {
        usleep(500);
    }
}

__attribute__((visibility("default"))) int close(int fd)
{
    int expected = fd;
    bool is_held = fd >= 0 && atomic_compare_exchange_strong(&hold.fd, &expected, -1);
    if (is_held && hold.where == BEFORE) {
        held_up();
    }
    int result = (int)syscall(SYS_close, fd);
    if (is_held && hold.where == AFTER) {
        held_up();
    }
    return result;
}

/* ---- helpers ---- */

struct call {
    int fd;
    char byte;
    ssize_t result;
    cu_wg *wg;
};

static void do_close(void *arg)
{
    struct call *c = arg;
    c->result = cu_close(c->fd);
    cu_wg_done(c->wg);
}

static void do_read(void *arg)
{
    struct call *c = arg;
    c->result = cu_read(c->fd, &c->byte, 1);
    cu_wg_done(c->wg);
}

static void start(void (*what)(void *), struct call *c)
{
    cu_wg_add(c->wg, 1);
    cu_go(what, c);
}

/* Begins to close, and returns when close(2) of it is held up. */
static void start_close(struct call *c, enum where where)
{
    hold.where = where;
    atomic_store(&hold.is_inside, false);
    atomic_store(&hold.may_go, false);
    atomic_store(&hold.fd, c->fd);
    start(do_close, c);
    while (!atomic_load(&hold.is_inside)) {
        cu_sleep(COPPER_MS / 4);
    }
}

static bool count_waiting(const struct cu_g_info *g, void *arg)
{
    int *waiting = arg;
    *waiting += g->state == COPPER_G_WAITING && g->reason == COPPER_WAIT_IO_WAIT;
    return true;
}

static void await_waiting(int number)
{
    for (int waiting = -1; waiting != number;) {
        waiting = 0;
        cu_inspect_each(count_waiting, &waiting);
        cu_sleep(COPPER_MS / 4);
    }
}

/* ---- cases ---- */

COROUTINE_TEST(a_late_call_finds_it_closed)
{
    int fds[2];
    cu_wg wg = {0};
    expect(cu_pipe(fds) == 0 && cu_write(fds[1], "old", 3) == 3);
    struct call closing = {fds[0], 0, 1, &wg},
                reading[2] = {{fds[0], 0, 1, &wg}, {fds[0], 0, 1, &wg}};
    start_close(&closing, BEFORE);
    start(do_read, &reading[0]);
    start(do_read, &reading[1]);
    await_waiting(2); /* though there is something to read */
    atomic_store(&hold.may_go, true);
    cu_wg_wait(&wg);
    expect(closing.result == 0 && reading[0].result == -EBADF && reading[1].result == -EBADF);
    expect(cu_close(fds[1]) == 0);
    return 0;
}

COROUTINE_TEST(a_next_file_of_ours_takes_the_number_over)
{
    int fds[2], next[2];
    cu_wg wg = {0}, closed = {0};
    expect(cu_pipe(fds) == 0);
    struct call closing = {fds[0], 0, 1, &closed}, reading = {fds[0], 0, 1, &wg};
    start_close(&closing, AFTER);
    start(do_read, &reading);
    await_waiting(1);
    expect(cu_pipe(next) == 0 && next[0] == fds[0]);
    await_waiting(1); /* now for something to read */
    expect(cu_write(next[1], "n", 1) == 1);
    cu_wg_wait(&wg);
    expect(reading.result == 1 && reading.byte == 'n');
    start(do_read, &reading);
    await_waiting(1);
    atomic_store(&hold.may_go, true);
    cu_wg_wait(&closed); /* leaves the new file alone */
    expect(closing.result == 0);
    await_waiting(1);
    expect(cu_write(next[1], "m", 1) == 1);
    cu_wg_wait(&wg);
    expect(reading.result == 1 && reading.byte == 'm');
    expect(cu_close(next[0]) == 0 && cu_close(next[1]) == 0 && cu_close(fds[1]) == 0);
    expect(cu_close(next[0]) == -EBADF);
    return 0;
}

COROUTINE_TEST(a_next_foreign_file_waits_for_the_close)
{
    int fds[2], next[2];
    cu_wg wg = {0};
    expect(cu_pipe(fds) == 0);
    struct call closing = {fds[0], 0, 1, &wg}, reading = {fds[0], 0, 1, &wg};
    start_close(&closing, AFTER);
    expect(pipe(next) == 0 && next[0] == fds[0] && write(next[1], "f", 1) == 1);
    start(do_read, &reading);
    await_waiting(1);
    atomic_store(&hold.may_go, true);
    cu_wg_wait(&wg);
    expect(closing.result == 0 && reading.result == 1 && reading.byte == 'f');
    expect(close(next[0]) == 0 && close(next[1]) == 0 && cu_close(fds[1]) == 0);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_late_call_finds_it_closed),
        cmocka_unit_test(a_next_file_of_ours_takes_the_number_over),
        cmocka_unit_test(a_next_foreign_file_waits_for_the_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
