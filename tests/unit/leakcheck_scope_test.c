/* SPDX-License-Identifier: Apache-2.0
 *
 * Whose coroutines are whose: descendants however deep, scopes side by side on several threads and
 * in coroutines, scopes inside scopes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <copper/chan.h>
#include <copper/leakcheck.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* What a stranded coroutine holds is lost on purpose here. */
__attribute__((visibility("default"))) const char *__lsan_default_options(void);
const char *__lsan_default_options(void)
{
    return "detect_leaks=0";
}

static const struct cu_leak_options quiet = {
    .size = sizeof quiet, .timeout_ns = 30 * COPPER_SEC, .fd = -1};
static cu_chan *gate;

static void wait_at_gate(void *unused)
{
    (void)unused;
    cu_recv(gate, NULL);
}

static void spawn_chain(void *depth)
{
    if ((intptr_t)depth > 0)
        cu_go(spawn_chain, (void *)((intptr_t)depth - 1));
    else
        cu_go(wait_at_gate, NULL);
}

static int make_gate(void **state)
{
    (void)state;
    gate = cu_chan_new(0, 0);
    return gate == NULL;
}

static int open_gate(void **state)
{
    (void)state;
    cu_chan_close(gate);
    int64_t left = cu_leak_verify_none(&quiet);
    cu_chan_unref(gate);
    return left != 0;
}

/* Great-grandchildren of coroutines that have all ended are still the scope's. */
static void test_deep(void **state)
{
    (void)state;
    cu_leak_scope *scope = cu_leak_scope_begin("deep");
    for (int i = 0; i < 7; i++)
        cu_go(spawn_chain, (void *)(intptr_t)20);
    assert_int_equal(cu_leak_scope_end(scope, &quiet), 7);
}

static void test_others_are_not_mine(void **state)
{
    (void)state;
    cu_go(wait_at_gate, NULL);
    cu_leak_scope *scope = cu_leak_scope_begin("mine");
    assert_int_equal(cu_leak_scope_end(scope, &quiet), 0);
    cu_go(wait_at_gate, NULL); /* after the scope */
    scope = cu_leak_scope_begin("next");
    cu_go(spawn_chain, (void *)(intptr_t)1);
    assert_int_equal(cu_leak_scope_end(scope, &quiet), 1);
}

/* Coroutines that end while the checker looks, each having spawned the next where it looked already. */
static void test_moving(void **state)
{
    (void)state;
    for (int i = 0; i < 300; i++) { /* each looks at what the earlier ones left, too */
        cu_leak_scope *scope = cu_leak_scope_begin("moving");
        cu_go(spawn_chain, (void *)(intptr_t)(i % 50));
        assert_int_equal(cu_leak_scope_end(scope, &quiet), 1);
    }
}

static void test_nested(void **state)
{
    (void)state;
    cu_leak_scope *outer = cu_leak_scope_begin("outer");
    cu_go(wait_at_gate, NULL);
    cu_leak_scope *inner = cu_leak_scope_begin("inner");
    cu_go(wait_at_gate, NULL);
    cu_go(wait_at_gate, NULL);
    assert_int_equal(cu_leak_scope_end(inner, &quiet), 2);
    cu_go(wait_at_gate, NULL);
    assert_int_equal(cu_leak_scope_end(outer, &quiet), 2);
}

/* ---- many at once: each must find exactly what it left ---- */

#define THREADS 4
#define ROUNDS  30

static void pass_on(void *c)
{
    cu_yield();
    cu_send(c, NULL);
}

/* Leaves n behind, after some traffic that ends by itself. */
static int64_t one_round(int n)
{
    cu_leak_scope *scope = cu_leak_scope_begin("round");
    cu_chan *c = cu_chan_new(0, 0);
    for (int i = 0; i < 10; i++)
        cu_go(pass_on, c);
    for (int i = 0; i < n; i++)
        cu_go(spawn_chain, (void *)(intptr_t)(i % 4));
    for (int i = 0; i < 10; i++)
        cu_recv(c, NULL);
    int64_t found = cu_leak_scope_end(scope, &quiet);
    cu_chan_unref(c);
    return found;
}

static void *rounds_of_thread(void *seed)
{
    for (int i = 0; i < ROUNDS; i++) {
        int n = (int)((intptr_t)seed * 7 + i * 5) % 4;
        int64_t found = one_round(n);
        if (found != n) {
            fprintf(stderr, "left %d, found %lld\n", n, (long long)found);
            return (void *)1;
        }
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    for (intptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, rounds_of_thread, (void *)i), 0);
    for (int i = 0; i < THREADS; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
}

static _Atomic int wrong;

static void rounds_of_coroutine(void *seed)
{
    wrong += rounds_of_thread(seed) != NULL;
}

static void test_coroutines(void **state)
{
    (void)state;
    cu_wg wg = {0};
    for (intptr_t i = 0; i < THREADS; i++)
        cu_wg_go(&wg, rounds_of_coroutine, (void *)i);
    cu_wg_wait(&wg);
    assert_int_equal(wrong, 0);
}

int main(void)
{
#define GATED(f) cmocka_unit_test_setup_teardown(f, make_gate, open_gate)
    const struct CMUnitTest tests[] = {
        GATED(test_deep),    GATED(test_others_are_not_mine), GATED(test_moving), GATED(test_nested),
        GATED(test_threads), GATED(test_coroutines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
