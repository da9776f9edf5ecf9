/* SPDX-License-Identifier: Apache-2.0
 *
 * copper/cmocka.h: cmocka tests whose bodies are coroutines and leave none behind.
 *
 *     static void gives_up(void **state) {
 *         cu_go(ask, cu_chan_new(sizeof(int), 0));          // nobody ever receives
 *     }
 *     int main(void) {
 *         const struct CMUnitTest tests[] = { cu_cmocka_test(gives_up) };
 *         return cmocka_run_group_tests(tests, NULL, NULL);
 *     }
 *
 * Link copper::cmocka (libcopper_cmocka.a) beside cmocka. It includes cmocka.h, and what that asks for.
 *
 * Body, setup and teardown each run in a coroutine of the test's scope, while cmocka's thread
 * waits. When the last of them has ended, everything the test spawned must have ended too; else the
 * test fails and says what is left (a test with a teardown: as an error of its teardown, as cmocka
 * counts failures there). A test that already failed is not checked.
 *
 * An assertion that fails in the body, in any coroutine of the test or in a thread it started fails
 * the test and ends that coroutine or thread; the next test still runs. will_return, expect_* and
 * test_malloc work from all of them. A test that does not end within COPPER_TEST_TIMEOUT (60s;
 * "5m", "500ms"; 0: never) prints every coroutine it has and ends the process with status 1.
 *
 * Not from inside cu_run, and one group at a time. Mixes with plain cmocka_unit_test entries.
 */
#ifndef COPPER_CMOCKA_H
#define COPPER_CMOCKA_H

#include <copper/go.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#include <cmocka.h> /* has no extern "C" of its own */

/* What a macro below makes of its arguments; lives as long as the array of tests. */
struct cu_cmocka_case {
    struct cu_site site; /* the line that lists the test; function: the test's name */
    CMUnitTestFunction body;
    CMFixtureFunction setup, teardown; /* NULL: none */
    void *state;
};

/* What cmocka calls; the case is their initial state. */
void cu_cmocka_body(void **state);
int cu_cmocka_setup(void **state);
int cu_cmocka_teardown(void **state);

#ifdef __cplusplus
}
#define COPPER_CMOCKA_CASE(name, f, setup, teardown, state)                                        \
    ([](void *state_) -> void * {                                                                  \
        static struct cu_cmocka_case case_;                                                        \
        case_ = {{name, __FILE__, __LINE__}, f, setup, teardown, state_};                          \
        return &case_;                                                                             \
    }(state))
#else
#define COPPER_CMOCKA_CASE(name, f, setup, teardown, state)                                        \
    (&(struct cu_cmocka_case){{name, __FILE__, __LINE__}, f, setup, teardown, state})
#endif

#define COPPER_CMOCKA_ENTRY(name, f, setup, teardown, state)                                       \
    {                                                                                              \
        name, cu_cmocka_body, cu_cmocka_setup, cu_cmocka_teardown,                                 \
            COPPER_CMOCKA_CASE(name, f, setup, teardown, state)                                    \
    }

#define COPPER_CMOCKA_BODY(name, f, state)                                                         \
    {                                                                                              \
        name, cu_cmocka_body, NULL, NULL, COPPER_CMOCKA_CASE(name, f, NULL, NULL, state)           \
    }

/* As cmocka_unit_test and its variants. */
#define cu_cmocka_test(f)                    COPPER_CMOCKA_BODY(#f, f, NULL)
#define cu_cmocka_test_prestate(f, state)    COPPER_CMOCKA_BODY(#f, f, state)
#define cu_cmocka_test_setup(f, setup)       COPPER_CMOCKA_ENTRY(#f, f, setup, NULL, NULL)
#define cu_cmocka_test_teardown(f, teardown) COPPER_CMOCKA_ENTRY(#f, f, NULL, teardown, NULL)
#define cu_cmocka_test_setup_teardown(f, setup, teardown)                                          \
    COPPER_CMOCKA_ENTRY(#f, f, setup, teardown, NULL)
#define cu_cmocka_test_prestate_setup_teardown(f, setup, teardown, state)                          \
    COPPER_CMOCKA_ENTRY(#f, f, setup, teardown, state)

#endif
