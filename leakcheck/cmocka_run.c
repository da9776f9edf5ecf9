/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose. Run a test's functions in coroutines while cmocka's thread waits, serves and records.
 *
 * Design. The runner sleeps on one futex word, `events`, which everybody bumps who has news: the
 * body's coroutine has ended (told by the runtime's `exited` hook, so that cu_exit in a body is
 * an end like any other), an assertion failed, a call is to be made here.
 *
 * Concurrency. `lock` guards the current test's verdict and the queue of calls; it is never held
 * over a parking call, and not taken in the hook. Whatever a coroutine wrote before its end is seen
 * by the runner through body_state.
 */
#include "cmocka_int.h"

#include <copper/hooks.h>
#include <copper/inspect.h>
#include <copper/time.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SETTLE_NS COPPER_LEAK_TIMEOUT_DEFAULT_NS
#define SLICE_NS  (5 * COPPER_MS)

/* A call that somebody wants made on the runner. Lives on the caller's stack, who waits. */
struct request {
    void (*call)(void *args);
    void *args;
    bool is_failed;
    _Atomic uint32_t is_done; /* any: atomic, futex word */
    struct request *next;     /* lock */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct cu__cmocka_test *current;              /* lock; written by the runner */
static struct request *first_request, *last_request; /* lock */
static pthread_t runner;
static _Atomic bool has_runner;
static _Atomic uint32_t events;   /* any: atomic, futex word */
static _Atomic cu_id body_id;     /* the coroutine that the runner waits for */
static _Atomic bool is_body_over; /* release by the hook, acquire by the runner */
static bool is_serving;           /* runner's */
static jmp_buf serve_env;         /* runner's; valid while is_serving */

static void futex_wait(_Atomic uint32_t *word, uint32_t seen, int64_t timeout_ns)
{
    struct timespec ts = {timeout_ns / COPPER_SEC, timeout_ns % COPPER_SEC};
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, timeout_ns < 0 ? NULL : &ts, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static void tell_runner(void)
{
    atomic_fetch_add_explicit(&events, 1, memory_order_release); /* pairs with the wait loop */
    futex_wake(&events);
}

bool cu__cmocka_is_runner(void)
{
    if (cu_self() != 0)
        return false;
    if (!atomic_load_explicit(&has_runner, memory_order_acquire))
        return true;
    if (pthread_equal(pthread_self(), runner))
        return true;
    pthread_mutex_lock(&lock);
    bool is_idle = current == NULL;
    pthread_mutex_unlock(&lock);
    return is_idle;
}

struct cu__cmocka_test *cu__cmocka_current(void)
{
    return current;
}

/* ---- verdicts -------------------------------------------------------------------------------- */

static bool find_own_scope(const struct cu_g_info *g, void *arg)
{
    uint64_t *scope = arg;
    if (g->id != cu_self())
        return true;
    *scope = g->scope;
    return false;
}

/* Of a coroutine. Asked of the inspector: to leave the scope for a moment, only to read its number,
 * would let those who wait for the scope's quiescence go. */
static uint64_t scope_of_coroutine(void)
{
    uint64_t scope = 0;
    cu_inspect_each(find_own_scope, &scope);
    return scope;
}

/* Scope numbers grow: a coroutine that has the test's or a later one came to be in this test.
 * Threads have none of ours; one that runs during a test is taken for its own. scope: the
 * caller's, UINT64_MAX for a thread. */
static bool is_of_test(const struct cu__cmocka_test *test, uint64_t scope)
{
    return test != NULL && scope >= test->number;
}

static uint64_t scope_of_caller(void)
{
    return cu_self() == 0 ? UINT64_MAX : scope_of_coroutine();
}

/* Under the lock. Takes message. */
static void record(struct cu__cmocka_test *test, enum cu__cmocka_verdict verdict, const char *file,
                   int line, char *message)
{
    if (test->verdict != COPPER_CMOCKA_FAILED && verdict != COPPER_CMOCKA_PASSED) {
        test->verdict = verdict;
        test->file = file;
        test->line = line;
    }
    char *joined;
    if (test->message != NULL && message != NULL &&
        asprintf(&joined, "%s%s", test->message, message) >= 0) {
        free(test->message);
        free(message);
        message = joined;
    }
    if (message != NULL)
        test->message = message;
}

static __attribute__((noreturn)) void end_caller(void)
{
    if (cu_self() != 0)
        cu_exit();
    pthread_exit(NULL);
}

void cu__cmocka_end_here(enum cu__cmocka_verdict verdict, const char *file, int line, char *message)
{
    uint64_t scope = scope_of_caller();
    pthread_mutex_lock(&lock);
    bool is_ours = is_of_test(current, scope);
    if (is_ours)
        record(current, verdict, file, line, message);
    pthread_mutex_unlock(&lock);
    if (is_ours) {
        tell_runner();
    } else {
        fprintf(stderr, "copper: %s:%d: assertion in a coroutine that an earlier test left: %s\n",
                file, line, message == NULL ? "failed" : message);
        free(message);
    }
    end_caller();
}

static enum cu__cmocka_verdict verdict_of(struct cu__cmocka_test *test)
{
    pthread_mutex_lock(&lock);
    enum cu__cmocka_verdict verdict = test->verdict;
    pthread_mutex_unlock(&lock);
    return verdict;
}

/* ---- calls made on the runner ---------------------------------------------------------------- */

static void finish(struct request *request, bool is_failed)
{
    request->is_failed = is_failed;
    /* Once is_done is seen the request is gone; a futex wake at an address needs no memory there.
     */
    atomic_store_explicit(&request->is_done, 1, memory_order_release);
    futex_wake(&request->is_done);
}

void cu__cmocka_on_runner(void (*call)(void *args), void *args)
{
    if (cu__cmocka_is_runner()) {
        call(args);
        return;
    }
    struct request request = {.call = call, .args = args};
    uint64_t scope = scope_of_caller();
    pthread_mutex_lock(&lock);
    bool is_ours = is_of_test(current, scope);
    if (is_ours) {
        if (first_request == NULL)
            first_request = &request;
        else
            last_request->next = &request;
        last_request = &request;
    }
    pthread_mutex_unlock(&lock);
    if (!is_ours)
        end_caller();
    tell_runner();
    while (atomic_load_explicit(&request.is_done, memory_order_acquire) == 0)
        futex_wait(&request.is_done, 0, -1);
    if (request.is_failed)
        end_caller();
}

void cu__cmocka_fail_forwarded(const char *file, int line)
{
    if (!is_serving)
        return;
    pthread_mutex_lock(&lock);
    record(current, COPPER_CMOCKA_FAILED, file, line, NULL);
    pthread_mutex_unlock(&lock);
    longjmp(serve_env, 1);
}

/* True: an assertion failed in it. */
static bool call_fails(struct request *request)
{
    if (setjmp(serve_env) != 0)
        return true;
    request->call(request->args);
    return false;
}

static struct request *next_request(void)
{
    pthread_mutex_lock(&lock);
    struct request *request = first_request;
    if (request != NULL)
        first_request = request->next;
    pthread_mutex_unlock(&lock);
    return request;
}

static void serve(void)
{
    for (struct request *request; (request = next_request()) != NULL;) {
        is_serving = true;
        bool is_failed = call_fails(request);
        is_serving = false;
        finish(request, is_failed);
    }
}

/* ---- one test -------------------------------------------------------------------------------- */

static void on_exited(void *tool, int64_t now, cu_id g, int p)
{
    (void)tool, (void)now, (void)p;
    if (g != atomic_load_explicit(&body_id, memory_order_acquire))
        return;
    atomic_store_explicit(&is_body_over, true, memory_order_release);
    tell_runner();
}

static const struct cu_hooks hooks = {
    .version = COPPER_HOOKS_VERSION, .size = sizeof hooks, .exited = on_exited};

static void become_runner(void)
{
    if (!atomic_load_explicit(&has_runner, memory_order_relaxed) &&
        cu_hooks_attach(&hooks, NULL) < 0) {
        fputs("copper: too many tools are attached to the runtime for cu_cmocka_test\n", stderr);
        abort();
    }
    runner = pthread_self();
    atomic_store_explicit(&has_runner, true, memory_order_release);
}

struct cu__cmocka_test *cu__cmocka_open(const struct cu_cmocka_case *is, void *state)
{
    if (cu_self() != 0) {
        fputs("copper: cu_cmocka_test runs its bodies in coroutines; call "
              "cmocka_run_group_tests from main, not from inside cu_run\n",
              stderr);
        abort();
    }
    become_runner();
    struct cu__cmocka_test *test = calloc(1, sizeof *test);
    cu_leak_scope *scope = test == NULL ? NULL : cu_leak_scope_begin(is->site.function);
    if (scope == NULL) {
        fputs("copper: out of memory before a test\n", stderr);
        abort();
    }
    test->is = is;
    test->state = state;
    test->scope = scope;
    test->number = cu_leak_scope_number(scope);
    pthread_mutex_lock(&lock);
    current = test;
    pthread_mutex_unlock(&lock);
    return test;
}

void cu__cmocka_detach(struct cu__cmocka_test *test)
{
    pthread_mutex_lock(&lock);
    if (current == test)
        current = NULL;
    struct request *request = first_request;
    first_request = NULL;
    pthread_mutex_unlock(&lock);
    while (request != NULL) {
        struct request *next = request->next;
        finish(request, true);
        request = next;
    }
}

void cu__cmocka_free(struct cu__cmocka_test *test)
{
    if (test->is_hung)
        return; /* its coroutine may still use it */
    free(test->message);
    free(test);
}

/* Named so, because reports leave out what begins with cu_ at the ends of a stack. */
void cu__cmocka_main(void *arg)
{
    struct cu__cmocka_test *test = arg;
    atomic_store_explicit(&body_id, cu_self(), memory_order_release);
    if (test->run_fixture != NULL)
        test->result = test->run_fixture(&test->state);
    else
        test->run_body(&test->state);
}

static void wait_for_end(struct cu__cmocka_test *test)
{
    int64_t timeout = cu__cmocka_timeout_ns(), deadline = cu_now() + timeout;
    for (;;) {
        uint32_t seen = atomic_load_explicit(&events, memory_order_acquire);
        serve();
        if (atomic_load_explicit(&is_body_over, memory_order_acquire))
            return;
        if (verdict_of(test) != COPPER_CMOCKA_PASSED) {
            cu__cmocka_settle(test);
            test->is_hung = !atomic_load_explicit(&is_body_over, memory_order_acquire);
            return;
        }
        int64_t left = deadline - cu_now();
        if (timeout > 0 && left <= 0)
            cu__cmocka_hangs(test);
        futex_wait(&events, seen, timeout > 0 ? left : -1);
    }
}

int cu__cmocka_run_phase(struct cu__cmocka_test *test, CMUnitTestFunction body,
                         CMFixtureFunction fixture)
{
    test->run_body = body;
    test->run_fixture = fixture;
    test->result = 0;
    atomic_store_explicit(&body_id, 0, memory_order_relaxed);
    atomic_store_explicit(&is_body_over, false, memory_order_relaxed);
    const struct cu_go_options options = {COPPER_GO_OPTIONS, .name = test->is->site.function,
                                          .site = &test->is->site};
    cu_id id = cu_go_with(cu__cmocka_main, test, &options);
    if (id < 0) {
        fprintf(stderr, "copper: no coroutine for %s: %s\n", test->is->site.function,
                strerror((int)-id));
        abort();
    }
    wait_for_end(test);
    return test->is_hung ? 0 : test->result;
}

enum cu__cmocka_verdict cu__cmocka_settle(struct cu__cmocka_test *test)
{
    int64_t deadline = cu_now() + SETTLE_NS;
    while (cu_quiesce(test->number, SLICE_NS) == -ETIMEDOUT && cu_now() < deadline)
        serve();
    serve();
    return verdict_of(test);
}
