/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see watch.h.
 *
 * Design: one thread that sleeps on a word. Workers that fall asleep last and plain threads that
 * block set a bit; the thread then lets some time pass, so that a program that is idle for moments
 * again and again pays for one look in a while, and looks (deadlock.c). While only a foreign thread
 * stands between the program and a deadlock it looks again by itself, more and more rarely, because
 * the end of a thread is told by nobody.
 *
 * kill -QUIT: the handler sets a bit, the thread writes; so a dump is taken outside of signal
 * context, and the program goes on, unlike Go's. A program that handles SIGQUIT itself keeps its
 * handler.
 *
 * Signal safety: cu__watch_ask_sig is an atomic or and a futex system call.
 */
#include "watch.h"

#include <copper/debug.h>
#include <copper/inspect.h>
#include <copper/time.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "deadlock.h"
#include "futex.h"
#include "replay.h"
#include "report.h"
#include "stack_use.h"

#define FIRST_PAUSE_NS (20 * COPPER_MS)
#define BUSY_PAUSE_NS  (640 * COPPER_MS) /* the longest between two looks that were asked for */
#define LONG_PAUSE_NS  (10 * COPPER_SEC) /* the longest between two that were not */
#define TIDY_PAUSE_NS  (1200 * COPPER_MS)
#define STACK_BYTES    (1u << 20)

uint32_t cu__watch_word;
static bool is_running;

void cu__watch_ask_sig(uint32_t bits)
{
    if ((__atomic_fetch_or(&cu__watch_word, bits, __ATOMIC_SEQ_CST) & bits) != bits) {
        cu__futex_wake(&cu__watch_word, 1);
    }
}

/* Sleeps until a time, or until a look is asked for where that is `heeded`; writes dumps meanwhile.
 */
static void rest(bool is_heeded, int64_t until_ns)
{
    for (;;) {
        uint32_t bits = load_seq(&cu__watch_word);
        if (bits & COPPER_WATCH_DUMP) {
            __atomic_fetch_and(&cu__watch_word, ~(uint32_t)COPPER_WATCH_DUMP, __ATOMIC_SEQ_CST);
            cu_dump(STDERR_FILENO);
            continue;
        }
        if ((is_heeded && (bits & COPPER_WATCH_IDLE)) || cu_now() >= until_ns) {
            return;
        }
        cu__futex_wait(&cu__watch_word, bits, until_ns);
    }
}

/* What can wait until there is time: for at most a hundredth of it. Returns when to come again. */
static int64_t do_chores(void)
{
    static int64_t not_before_ns;
    int64_t begin_ns = cu_now();
    bool again = true;
    if (cu__replay_is_on()) {
        return COPPER_NO_DEADLINE; /* holding a coroutine still would change what is replayed */
    }
    if (begin_ns < not_before_ns) {
        return not_before_ns;
    }
    if (cu__deadlock_is_wanted()) {
        cu_deadlocks_check(STDERR_FILENO);
    }
    cu__stacks_tidy(&again);
    int64_t end_ns = cu_now();
    not_before_ns = end_ns + 100 * (end_ns - begin_ns);
    return again ? end_ns + TIDY_PAUSE_NS : COPPER_NO_DEADLINE;
}

static int64_t at_most(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void *watch(void *unused)
{
    (void)unused;
    int64_t pause_ns = FIRST_PAUSE_NS, period_ns = cu__deadlock_period_ns();
    pthread_setname_np(pthread_self(), "copper-watch");
    cu_service_thread_begin();
    int64_t again_ns = period_ns ? cu_now() + period_ns : COPPER_NO_DEADLINE;
    for (;;) {
        rest(true, again_ns);
        if (load_seq(&cu__watch_word) & COPPER_WATCH_IDLE) {
            rest(false, cu_now() + at_most(pause_ns, BUSY_PAUSE_NS));
            /* what is asked for from now on is another look */
            __atomic_fetch_and(&cu__watch_word, ~(uint32_t)COPPER_WATCH_IDLE, __ATOMIC_SEQ_CST);
        }
        enum cu__deadlock_look look = cu__deadlock_look();
        int64_t chores_ns = look == COPPER_LOOK_DEAD ? COPPER_NO_DEADLINE : do_chores();
        pause_ns = at_most(2 * pause_ns, LONG_PAUSE_NS);
        again_ns = at_most(chores_ns, period_ns ? cu_now() + period_ns : COPPER_NO_DEADLINE);
        if (look == COPPER_LOOK_FOREIGN) {
            again_ns = at_most(again_ns, cu_now() + pause_ns);
        } else {
            pause_ns = at_most(pause_ns, BUSY_PAUSE_NS);
        }
    }
    return NULL;
}

static void quit_sig(int signal)
{
    (void)signal;
    cu__watch_ask_sig(COPPER_WATCH_DUMP);
}

static void install_quit(void)
{
    struct sigaction old, action = {.sa_handler = quit_sig, .sa_flags = SA_RESTART | SA_ONSTACK};
    /* a script's shell has it ignored by what it starts in the background */
    if (sigaction(SIGQUIT, NULL, &old) == 0 &&
        (old.sa_handler == SIG_DFL || old.sa_handler == SIG_IGN)) {
        sigfillset(&action.sa_mask);
        sigaction(SIGQUIT, &action, NULL);
    } else if (old.sa_handler != quit_sig) {
        cu__complain("COPPER_DUMP=quit has no effect: the program handles SIGQUIT itself");
    }
}

static bool quit_is_wanted(void)
{
    const char *value = secure_getenv("COPPER_DUMP");
    if (value == NULL || *value == 0 || strcmp(value, "off") == 0) {
        return false;
    }
    if (strcmp(value, "quit") != 0) {
        cu__complain("COPPER_DUMP=%s is not one of quit, off; using off", value);
        return false;
    }
    return true;
}

void cu__watch_start(void)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all;
    bool wants_dump = quit_is_wanted(), wants_looks = cu__deadlock_is_wanted();
    if (is_running || !(wants_dump || wants_looks) || pthread_attr_init(&attr)) {
        return;
    }
    sigfillset(&all);
    pthread_attr_setsigmask_np(&attr, &all);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    int error = pthread_create(&thread, &attr, watch, NULL);
    pthread_attr_destroy(&attr);
    is_running = error == 0;
    if (is_running && wants_dump) {
        install_quit();
    } else if (wants_dump) {
        cu__complain("COPPER_DUMP=quit has no effect: no thread for it: %s", strerror(error));
    }
}

void cu__watch_after_fork(void)
{
    cu__watch_word = 0;
    is_running = false;
}
