/* SPDX-License-Identifier: Apache-2.0 */
#include <copper/chan.h>
#include <copper/go.h>
#include <copper/io.h>
#include <copper/signal.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "coroutine_body.h"
#include "sanitize.h"

static int own_calls; /* atomic */

static void own_handler(int sig)
{
    (void)sig;
    __atomic_fetch_add(&own_calls, 1, __ATOMIC_RELAXED);
}

static void *handler_of(int sig)
{
    struct sigaction now;
    sigaction(sig, NULL, &now);
    return now.sa_flags & SA_SIGINFO ? (void *)now.sa_sigaction : (void *)now.sa_handler;
}

/* One that comes while its handler runs is pending until that is over, and others overtake it: it
 * would meet the default action, were the handler taken back now. Workers block all signals. */
static void wait_until_none_is_pending(void)
{
    sigset_t pending;
    while (sigpending(&pending) == 0 &&
           (sigismember(&pending, SIGUSR1) || sigismember(&pending, SIGUSR2))) {
        cu_yield();
    }
}

COROUTINE_TEST(signals_arrive)
{
    cu_chan *c = cu_chan_new(sizeof(int), 4), *other = cu_chan_new(sizeof(int), 4);
    int sig = 0;
    expect(cu_signal_notify(c, (const int[]){SIGUSR1, SIGUSR2}, 2) == 0);
    expect(cu_signal_notify(other, (const int[]){SIGUSR2}, 1) == 0);
    for (int i = 0; i < 20; i++) {
        kill(getpid(), SIGUSR1);
        expect(cu_recv(c, &sig) == 0 && sig == SIGUSR1);
    }
    kill(getpid(), SIGUSR2);
    expect(cu_recv(other, &sig) == 0 && sig == SIGUSR2);
    expect(cu_recv(c, &sig) == 0 && sig == SIGUSR2 && cu_chan_len(other) == 0);
    cu_signal_stop(c);
    cu_signal_stop(c);
    cu_chan_unref(c); /* the last reference: nobody else has it any more */
    cu_signal_stop(other);
    cu_chan_unref(other);
    expect(handler_of(SIGUSR1) == (void *)SIG_DFL && handler_of(SIGUSR2) == (void *)SIG_DFL);
    return 0;
}

COROUTINE_TEST(a_full_channel_loses)
{
    cu_chan *c = cu_chan_new(sizeof(int), 1), *marks = cu_chan_new(sizeof(int), 1);
    int sig = 0;
    expect(cu_signal_notify(c, (const int[]){SIGUSR1}, 1) == 0);
    expect(cu_signal_notify(marks, (const int[]){SIGUSR2}, 1) == 0);
    for (int i = 0; i < 5; i++) {
        kill(getpid(), SIGUSR1);
        kill(getpid(), SIGUSR2);
        expect(cu_recv(marks, &sig) == 0);
    }
    while (cu_chan_len(c) == 0) {
        cu_yield();
    }
    expect(cu_try_recv(c, &sig) == 0 && sig == SIGUSR1);
    wait_until_none_is_pending();
    /* reset takes it from everybody */
    expect(cu_signal_reset((const int[]){SIGUSR2}, 1) == 0);
    expect(handler_of(SIGUSR2) == (void *)SIG_DFL && handler_of(SIGUSR1) != (void *)SIG_DFL);
    expect(cu_signal_reset(NULL, 0) == 0 && handler_of(SIGUSR1) == (void *)SIG_DFL);
    cu_chan_unref(c);
    cu_chan_unref(marks);
    return 0;
}

COROUTINE_TEST(the_programs_handler_stays)
{
    struct sigaction own = {.sa_handler = own_handler};
    cu_chan *c = cu_chan_new(sizeof(int), 1);
    int sig = 0;
    expect(sigaction(SIGUSR1, &own, NULL) == 0);
    expect(cu_signal_notify(c, (const int[]){SIGUSR1}, 1) == 0);
    kill(getpid(), SIGUSR1);
    expect(cu_recv(c, &sig) == 0 && sig == SIGUSR1);
    while (__atomic_load_n(&own_calls, __ATOMIC_RELAXED) < 1) {
        cu_sleep(COPPER_MS);
    }
    cu_signal_stop(c);
    expect(handler_of(SIGUSR1) == (void *)own_handler);
    /* one that somebody installed after us is left alone */
    expect(cu_signal_notify(c, (const int[]){SIGUSR1}, 1) == 0);
    expect(signal(SIGUSR1, SIG_IGN) != SIG_ERR);
    cu_signal_stop(c);
    expect(handler_of(SIGUSR1) == (void *)SIG_IGN);
    signal(SIGUSR1, SIG_DFL);
    cu_chan_unref(c);
    return 0;
}

COROUTINE_TEST(what_cannot_be_had)
{
    cu_chan *c = cu_chan_new(sizeof(int), 1), *wrong = cu_chan_new(8, 1);
    static const int bad[] = {0, -1, 65, SIGKILL, SIGSTOP, SIGSEGV, 32};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        expect(cu_signal_notify(c, &bad[i], 1) == -EINVAL);
        expect(cu_signal_reset(&bad[i], 1) == -EINVAL);
    }
    expect(cu_signal_notify(wrong, (const int[]){SIGUSR1}, 1) == -EINVAL);
    expect(cu_signal_notify(NULL, (const int[]){SIGUSR1}, 1) == -EINVAL);
    expect(cu_signal_notify(c, NULL, 0) == -EINVAL);
    expect(handler_of(SIGUSR1) == (void *)SIG_DFL);
    cu_signal_stop(NULL);
    cu_chan_unref(c);
    cu_chan_unref(wrong);
    return 0;
}

/* A closed channel does no harm. */
COROUTINE_TEST(a_closed_channel)
{
    cu_chan *c = cu_chan_new(sizeof(int), 1), *marks = cu_chan_new(sizeof(int), 1);
    int sig;
    expect(cu_signal_notify(c, (const int[]){SIGUSR1}, 1) == 0);
    expect(cu_signal_notify(marks, (const int[]){SIGUSR1}, 1) == 0);
    cu_chan_close(c);
    kill(getpid(), SIGUSR1);
    expect(cu_recv(marks, &sig) == 0 && sig == SIGUSR1);
    wait_until_none_is_pending(); /* it may have been one of the case before */
    cu_signal_stop(c);
    cu_signal_stop(marks);
    cu_chan_unref(c);
    cu_chan_unref(marks);
    return 0;
}

/* On a thread that the handler may run on, so that it has run when raise returns; the poller may
 * not have come to it by then. */
static void a_signal_is_for_who_wanted_it_then(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        cu_chan *c = cu_chan_new(sizeof(int), 4), *later = cu_chan_new(sizeof(int), 4);
        int sig = 0;
        assert_int_equal(cu_signal_notify(c, (const int[]){SIGUSR1}, 1), 0);
        raise(SIGUSR1);
        assert_int_equal(cu_signal_notify(later, (const int[]){SIGUSR1}, 1), 0);
        assert_int_equal(cu_try_recv(c, &sig), 0);
        assert_int_equal(sig, SIGUSR1);
        assert_int_equal(cu_chan_len(later), 0);
        raise(SIGUSR1);
        cu_signal_stop(c);
        assert_int_equal(cu_try_recv(c, &sig), 0);
        cu_signal_stop(later);
        assert_int_equal(cu_chan_len(later), 1);
        cu_chan_unref(c);
        cu_chan_unref(later);
    }
}

int main(void)
{
#if COPPER_WITH_TSAN
    return 77; /* it delivers a signal at the next call it knows, and a futex wait is none */
#endif
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signals_arrive),     cmocka_unit_test(a_full_channel_loses),
        cmocka_unit_test(a_closed_channel),   cmocka_unit_test(the_programs_handler_stays),
        cmocka_unit_test(what_cannot_be_had), cmocka_unit_test(a_signal_is_for_who_wanted_it_then),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
