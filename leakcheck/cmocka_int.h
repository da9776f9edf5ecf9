/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose. What the files of the cmocka adapter share.
 *
 * Design. cmocka keeps its state (running test, messages, mock queues, jump buffer) in variables of
 * the thread that runs the group: the *runner*. Bodies run elsewhere, so whatever they do to that
 * state is brought to the runner: assertions that fail are recorded and raised again on its stack
 * (cmocka_fail.c), mock and allocation calls are made there on behalf of the caller
 * (cmocka_forward.c), while it waits for the body's end (cmocka_run.c). cmocka_case.c is what
 * cmocka calls.
 */
#ifndef COPPER_CMOCKA_INT_H
#define COPPER_CMOCKA_INT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <copper/cmocka.h>
#include <copper/leakcheck.h>

enum cu__cmocka_verdict {
    COPPER_CMOCKA_PASSED,
    COPPER_CMOCKA_FAILED,
    COPPER_CMOCKA_SKIPPED,
};

/* One test, from before its setup to after its teardown. Made and freed by the runner. */
struct cu__cmocka_test {
    const struct cu_cmocka_case *is;
    cu_leak_scope *scope;
    uint64_t number;                 /* of the scope */
    void *state;                     /* what the test's functions get the address of */
    enum cu__cmocka_verdict verdict; /* lock: the adapter's; first one stays */
    const char *file;                /* lock: where it failed */
    int line;                        /* lock */
    char *message;                   /* lock: what its assertions said; NULL: nothing */
    /* The function under way: given to its coroutine, which may outlive the test if it hangs. */
    CMUnitTestFunction run_body;
    CMFixtureFunction run_fixture;
    int result;
    bool is_hung;    /* runner's: a function of it has not ended */
    bool has_failed; /* runner's: cmocka knows, and what it left behind is not looked at */
};

/* cmocka_run.c */
bool cu__cmocka_is_runner(void); /* or no test of ours runs and the caller is a plain thread */
struct cu__cmocka_test *cu__cmocka_open(const struct cu_cmocka_case *is, void *state);
struct cu__cmocka_test *cu__cmocka_current(void); /* by the runner; NULL: none is open */
/* Takes the test out of the adapter: assertions of its coroutines are strays from now on. */
void cu__cmocka_detach(struct cu__cmocka_test *test);
void cu__cmocka_free(struct cu__cmocka_test *test);
/* Waits until its coroutines rest, serving their calls meanwhile, for a bounded time. The verdict
 * by then. */
enum cu__cmocka_verdict cu__cmocka_settle(struct cu__cmocka_test *test);
/* Runs one function (the other is NULL) in a coroutine and waits for its end or the test's failure.
 * What fixture returned, else 0. */
int cu__cmocka_run_phase(struct cu__cmocka_test *test, CMUnitTestFunction body,
                         CMFixtureFunction fixture);
void cu__cmocka_main(void *test); /* what that coroutine runs */
/* By a coroutine or thread of a test: records the verdict and ends the caller. Takes message. */
__attribute__((noreturn)) void cu__cmocka_end_here(enum cu__cmocka_verdict verdict,
                                                   const char *file, int line, char *message);
/* Calls call(args) on the runner and waits. Does not return when an assertion failed in it. */
void cu__cmocka_on_runner(void (*call)(void *args), void *args);
/* By _fail on the runner: an assertion failed in a call made on somebody's behalf. Does not return
 * if that is so. */
void cu__cmocka_fail_forwarded(const char *file, int line);

/* cmocka_watchdog.c: COPPER_TEST_TIMEOUT, 0: none; the report of a test that hangs. */
int64_t cu__cmocka_timeout_ns(void);
__attribute__((noreturn)) void cu__cmocka_hangs(const struct cu__cmocka_test *test);

/* cmocka_fail.c: cmocka's own, on the runner. They do not return. */
__attribute__((noreturn)) void cu__cmocka_raise(enum cu__cmocka_verdict verdict, const char *file,
                                                int line, const char *message);

/* The next definition of a function of cmocka's; ends the process where there is none. */
void *cu__cmocka_real(const char *name);

/* Our definitions stand before cmocka's: seen by its library too. */
#define COPPER_INTERPOSE __attribute__((visibility("default")))

#endif
