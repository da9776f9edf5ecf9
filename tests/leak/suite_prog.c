/* SPDX-License-Identifier: Apache-2.0
 *
 * A suite of which some tests must fail, and the others must not suffer from it. What becomes of
 * each is in suite.py. Names beginning with bad_ must fail, skip_ be skipped, good_ pass.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <copper/chan.h>
#include <copper/cmocka.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What a stranded coroutine holds is lost on purpose here. */
__attribute__((visibility("default"))) const char *__lsan_default_options(void);
const char *__lsan_default_options(void)
{
    return "detect_leaks=0";
}

static void send_one(void *c)
{
    int v = 42;
    cu_send(c, &v);
}

static void good_first(void **state)
{
    assert_null(*state);
    assert_true(cu_self() > 0);
}

static void bad_leak(void **state)
{
    (void)state;
    cu_go(send_one, cu_chan_new(sizeof(int), 0));
}

static void good_after_leak(void **state)
{
    (void)state;
    int v = 0;
    cu_chan *c = cu_chan_new(sizeof(int), 0);
    cu_go(send_one, c);
    assert_int_equal(cu_recv(c, &v), 0);
    assert_int_equal(v, 42);
    cu_chan_unref(c);
}

static void bad_body(void **state)
{
    (void)state;
    cu_sleep(COPPER_MS); /* may continue on another thread */
    assert_int_equal(17, 71);
}

static void good_after_body(void **state)
{
    (void)state;
    cu_yield();
}

static void assert_strings(void *unused)
{
    (void)unused;
    assert_string_equal("in a child", "somewhere else");
}

/* The body waits for what never comes: the failure ends the test all the same. */
static void bad_child(void **state)
{
    (void)state;
    cu_chan *c = cu_chan_new(0, 0);
    cu_go(assert_strings, NULL);
    cu_recv(c, NULL);
}

static void spawn_deeper(void *depth)
{
    if ((intptr_t)depth == 0)
        assert_true(1 == 2);
    cu_go(spawn_deeper, (void *)((intptr_t)depth - 1));
}

static void bad_grandchild(void **state)
{
    (void)state;
    cu_go(spawn_deeper, (void *)(intptr_t)5);
}

static void fail_late(void *unused)
{
    (void)unused;
    cu_sleep(50 * COPPER_MS);
    fail_msg("%s", "late, after the body has ended");
}

static void bad_late_child(void **state)
{
    (void)state;
    cu_go(fail_late, NULL);
}

static void *assert_in_thread(void *unused)
{
    assert_memory_equal("abc", "abd", 3);
    return unused;
}

static void bad_thread(void **state)
{
    (void)state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, assert_in_thread, NULL), 0);
    pthread_join(thread, NULL);
}

static void good_exit(void **state)
{
    (void)state;
    cu_exit();
}

static void skip_me(void **state)
{
    (void)state;
    skip();
}

static void plain_good(void **state)
{
    (void)state;
    assert_int_equal(cu_self(), 0);
}

static void plain_bad(void **state)
{
    (void)state;
    assert_int_equal(3, 4);
}

/* ---- fixtures -------------------------------------------------------------------------------- */

struct fixture {
    cu_chan *requests;
    cu_wg server;
};

static void serve(void *arg)
{
    struct fixture *f = arg;
    while (cu_recv(f->requests, NULL) == 0)
        ;
}

static int start_server(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->requests = cu_chan_new(sizeof(int), 0);
    cu_wg_go(&f->server, serve, f);
    *state = f;
    return 0;
}

static int stop_server(void **state)
{
    struct fixture *f = *state;
    cu_chan_close(f->requests);
    cu_wg_wait(&f->server);
    cu_chan_unref(f->requests);
    free(f);
    return 0;
}

static int forget_server(void **state)
{
    (void)state;
    return 0;
}

static void good_fixture(void **state)
{
    struct fixture *f = *state;
    send_one(f->requests);
}

static void bad_fixture_body(void **state)
{
    struct fixture *f = *state;
    send_one(f->requests);
    assert_true(f == NULL);
}

static void bad_fixture_leak(void **state)
{
    good_fixture(state);
}

static void good_after_fixtures(void **state)
{
    assert_string_equal(*state, "prestate");
}

static int refuse(void **state)
{
    (void)state;
    return -1;
}

static void bad_setup(void **state)
{
    (void)state;
    print_message("must not run\n");
}

/* ---- mocks, called from whichever thread ----------------------------------------------------- */

static int ask(int question)
{
    check_expected(question);
    return mock_type(int);
}

static void ask_twice(void *unused)
{
    (void)unused;
    assert_int_equal(ask(1), 10);
    cu_yield();
    assert_int_equal(ask(2), 20);
}

static void good_mock(void **state)
{
    (void)state;
    expect_value(ask, question, 1);
    expect_value(ask, question, 2);
    will_return(ask, 10);
    cu_sleep(COPPER_MS);
    will_return(ask, 20);
    cu_wg wg = {0};
    cu_wg_go(&wg, ask_twice, NULL);
    cu_wg_wait(&wg);
    char *block = test_malloc(10);
    cu_yield();
    test_free(block);
}

static void ask_wrongly(void *unused)
{
    (void)unused;
    ask(5);
}

static void bad_mock(void **state)
{
    (void)state;
    expect_value(ask, question, 6);
    will_return(ask, 10);
    cu_wg wg = {0};
    cu_wg_go(&wg, ask_wrongly, NULL);
    cu_wg_wait(&wg);
}

static void bad_unused_mock(void **state)
{
    (void)state;
    will_return(ask, 10);
}

static void bad_memory(void **state)
{
    (void)state;
    if (test_malloc(10) == NULL)
        fail();
}

static void good_last(void **state)
{
    (void)state;
    cu_wg wg = {0};
    cu_chan *c = cu_chan_new(sizeof(int), 200);
    for (int i = 0; i < 200; i++)
        cu_wg_go(&wg, send_one, c);
    cu_wg_wait(&wg);
    cu_chan_unref(c);
}

/* ---- groups ---------------------------------------------------------------------------------- */

static int make_group_state(void **state)
{
    *state = strdup("group");
    return *state == NULL;
}

static int free_group_state(void **state)
{
    print_message("group teardown of %s\n", (char *)*state);
    free(*state);
    return 0;
}

static void good_in_group(void **state)
{
    assert_string_equal(*state, "group");
}

/* ---- a test that hangs, under COPPER_TEST_TIMEOUT -------------------------------------------- */

static void hangs(void **state)
{
    (void)state;
    cu_chan *c = cu_chan_new(sizeof(int), 0);
    cu_chan_name(c, "answers");
    cu_go(send_one, cu_chan_new(sizeof(int), 0));
    assert_int_equal(cu_recv(c, NULL), 0);
}

int main(int argc, char **argv)
{
    static char prestate[] = "prestate";
    const struct CMUnitTest tests[] = {
        cu_cmocka_test(good_first),
        cu_cmocka_test(bad_leak),
        cu_cmocka_test(good_after_leak),
        cu_cmocka_test(bad_body),
        cu_cmocka_test(good_after_body),
        cu_cmocka_test(bad_child),
        cu_cmocka_test(bad_grandchild),
        cu_cmocka_test(bad_late_child),
        cu_cmocka_test(bad_thread),
        cu_cmocka_test(good_exit),
        cu_cmocka_test(skip_me),
        cmocka_unit_test(plain_good),
        cmocka_unit_test(plain_bad),
        cu_cmocka_test_setup_teardown(good_fixture, start_server, stop_server),
        cu_cmocka_test_setup_teardown(bad_fixture_body, start_server, stop_server),
        cu_cmocka_test_setup_teardown(bad_fixture_leak, start_server, forget_server),
        cu_cmocka_test_setup(bad_setup, refuse),
        cu_cmocka_test_prestate(good_after_fixtures, prestate),
        cu_cmocka_test(good_mock),
        cu_cmocka_test(bad_mock),
        cu_cmocka_test(bad_unused_mock),
        cu_cmocka_test(bad_memory),
        cu_cmocka_test(good_last),
    };
    const struct CMUnitTest grouped[] = {
        cu_cmocka_test(good_in_group),
        cmocka_unit_test(good_in_group),
    };
    const struct CMUnitTest hanging[] = {cu_cmocka_test(hangs)};
    if (argc > 1 && strcmp(argv[1], "hang") == 0)
        return cmocka_run_group_tests(hanging, NULL, NULL);
    if (argc > 1 && strcmp(argv[1], "group") == 0)
        return cmocka_run_group_tests(grouped, make_group_state, free_group_state);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
