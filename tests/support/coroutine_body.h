/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: unit tests whose body is a coroutine. cmocka's assertions jump out of the test function,
 * which must not happen on another stack; so a body returns the line of the first thing that does
 * not hold, and the test function asserts that it is 0.
 */
#ifndef COPPER_TEST_COROUTINE_BODY_H
#define COPPER_TEST_COROUTINE_BODY_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* in this order */
#include <setjmp.h>

#include <cmocka.h>
#include <copper/go.h>

#define expect(x)                                                                                  \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            return __LINE__;                                                                       \
        }                                                                                          \
    } while (0)

#define COROUTINE_TEST(name)                                                                       \
    static int name##_body(void *unused);                                                          \
    static void name(void **state)                                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        assert_int_equal(cu_run(name##_body, NULL), 0);                                            \
    }                                                                                              \
    static int name##_body(__attribute__((unused)) void *unused)

#endif
