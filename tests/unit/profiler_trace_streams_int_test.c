/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: streams of a trace, one for each thread: the real trace_record.c is compiled in.
 */
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* in this order */
#include <setjmp.h>

#include <cmocka.h>

#include "pages.c"
#include "trace_record.c"

#define JOINING 8
#define ROUNDS  2000

bool cu__trace_can_record(void)
{
    return true;
}

int cu__trace_hooks_attach(void)
{
    return 0;
}

void cu__trace_hooks_detach(void)
{
}

static int start(void **state)
{
    (void)state;
    return cu__trace_record_start();
}

static int stop(void **state)
{
    (void)state;
    cu__trace_record_stop();
    cu__trace_record_clear();
    return 0;
}

static pthread_barrier_t together;

static void *join_often(void *got)
{
    for (int i = 0; i < ROUNDS; i++) {
        pthread_barrier_wait(&together);
        ((struct cu__trace_stream **)got)[i] = cu__trace_join_stream(1);
        pthread_barrier_wait(&together);
        if (pthread_barrier_wait(&together) == PTHREAD_BARRIER_SERIAL_THREAD) {
            cu__trace_record_clear();
        }
    }
    return NULL;
}

/* The first event of a thread is not lost because another thread has its first one, too. */
static void all_that_join_at_once_get_one(void **state)
{
    (void)state;
    static struct cu__trace_stream *got[JOINING][ROUNDS];
    pthread_t threads[JOINING];
    pthread_barrier_init(&together, NULL, JOINING);
    for (int i = 0; i < JOINING; i++) {
        pthread_create(&threads[i], NULL, join_often, got[i]);
    }
    for (int i = 0; i < JOINING; i++) {
        pthread_join(threads[i], NULL);
    }
    pthread_barrier_destroy(&together);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < JOINING; i++) {
            assert_non_null(got[i][round]);
            for (int k = 0; k < i; k++) {
                assert_ptr_not_equal(got[i][round], got[k][round]);
            }
        }
    }
}

static void those_over_the_limit_are_counted(void **state)
{
    (void)state;
    for (unsigned i = 0; i < COPPER_TRACE_STREAMS; i++) {
        assert_non_null(cu__trace_join_stream(1));
    }
    assert_int_equal(cu__trace_unheard_take(), 0);
    for (int i = 0; i < 3; i++) {
        assert_null(cu__trace_join_stream(1));
    }
    assert_int_equal(cu__trace_unheard_take(), 3);
    assert_int_equal(cu__trace_unheard_take(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_that_join_at_once_get_one, start, stop),
        cmocka_unit_test_setup_teardown(those_over_the_limit_are_counted, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
