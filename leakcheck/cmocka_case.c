/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose. What cmocka calls for an entry made by cu_cmocka_test: setup, body, teardown; and the
 * group's own fixtures.
 *
 * Design. A test is opened by the first of its functions and checked for what it left behind
 * after the last. cmocka hands the state that a group's setup made to every test in place of the
 * test's own initial state, where our case is: so the group's state is kept here, and put into
 * plain cmocka_unit_test entries of the same group by ourselves.
 */
#include "cmocka_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    CMFixtureFunction setup, teardown;
    void *state;              /* what setup made */
    struct CMUnitTest *tests; /* our copy */
    size_t ntests;
} group;

static void collect_text(void *arg, const char *text, size_t n)
{
    char **message = arg;
    *message = strndup(text, n);
}

struct outcome {
    enum cu__cmocka_verdict verdict;
    const char *file;
    int line;
    char *message; /* NULL: nothing to say */
};

/* Ends the test: nothing of it is left but, if it hangs, its coroutine. */
static struct outcome end_test(struct cu__cmocka_test *test)
{
    struct outcome out = {.verdict = cu__cmocka_settle(test)};
    cu__cmocka_detach(test);
    bool is_checked = out.verdict == COPPER_CMOCKA_PASSED && !test->has_failed;
    out.file = is_checked ? test->is->site.file : test->file;
    out.line = is_checked ? (int)test->is->site.line : test->line;
    out.message = test->message;
    test->message = NULL;

    struct cu_leak_options options = {COPPER_LEAK_OPTIONS};
    options.fd = -1;
    if (is_checked) {
        options.output = collect_text;
        options.output_arg = &out.message;
    } else {
        options.timeout_ns = 0;
    }
    int64_t found = cu_leak_scope_end(test->scope, &options);
    if (is_checked && found != 0)
        out.verdict = COPPER_CMOCKA_FAILED;
    if (is_checked && found < 0)
        out.message = strdup("no check for what the test left behind: out of memory\n");
    cu__cmocka_free(test);
    return out;
}

/* Ends the test and tells cmocka. Returns only if it passed. */
static void end_and_tell(struct cu__cmocka_test *test)
{
    static char *told; /* cmocka does not return from raise: freed by the next one */
    struct outcome out = end_test(test);
    free(told);
    told = out.message;
    if (out.verdict != COPPER_CMOCKA_PASSED)
        cu__cmocka_raise(out.verdict, out.file, out.line, told);
}

/* Ends a test of which cmocka is told by other means. */
static void abandon(struct cu__cmocka_test *test)
{
    test->has_failed = true;
    free(end_test(test).message);
}

/* The test of this case: the open one, or a new one. */
static struct cu__cmocka_test *test_of(const struct cu_cmocka_case *is)
{
    struct cu__cmocka_test *test = cu__cmocka_current();
    if (test != NULL && test->is == is)
        return test;
    if (test != NULL)
        abandon(test);
    return cu__cmocka_open(is, group.state != NULL ? group.state : is->state);
}

/* A teardown is to come: the verdict goes to cmocka now, the test stays open. */
static void tell(struct cu__cmocka_test *test)
{
    enum cu__cmocka_verdict verdict = test->verdict;
    test->verdict = COPPER_CMOCKA_PASSED;
    test->has_failed = true;
    char *message = test->message;
    test->message = NULL;
    static char *told; /* as in end_and_tell */
    free(told);
    told = message;
    cu__cmocka_raise(verdict, test->file, test->line, told);
}

int cu_cmocka_setup(void **state)
{
    const struct cu_cmocka_case *is = *state;
    struct cu__cmocka_test *test = test_of(is);
    if (is->setup == NULL)
        return 0;
    int result = cu__cmocka_run_phase(test, NULL, is->setup);
    if (test->verdict != COPPER_CMOCKA_PASSED)
        end_and_tell(test);
    else if (result != 0)
        abandon(test);
    return result;
}

void cu_cmocka_body(void **state)
{
    const struct cu_cmocka_case *is = *state;
    struct cu__cmocka_test *test = test_of(is);
    cu__cmocka_run_phase(test, is->body, NULL);
    if (is->teardown == NULL)
        end_and_tell(test);
    else if (test->verdict != COPPER_CMOCKA_PASSED)
        tell(test);
}

int cu_cmocka_teardown(void **state)
{
    const struct cu_cmocka_case *is = *state;
    if (is->teardown == NULL)
        return 0;
    struct cu__cmocka_test *test = test_of(is);
    int result = cu__cmocka_run_phase(test, NULL, is->teardown);
    end_and_tell(test);
    return result;
}

/* ---- groups ---------------------------------------------------------------------------------- */

static int run_group_setup(void **state)
{
    (void)state; /* stays NULL, so that cmocka passes each test its initial state */
    int result = group.setup(&group.state);
    for (size_t i = 0; i < group.ntests && group.state != NULL; i++)
        if (group.tests[i].test_func != cu_cmocka_body)
            group.tests[i].initial_state = group.state;
    return result;
}

static int run_group_teardown(void **state)
{
    (void)state;
    return group.teardown(&group.state);
}

typedef int run_group(const char *, const struct CMUnitTest *, size_t, CMFixtureFunction,
                      CMFixtureFunction);

COPPER_INTERPOSE int _cmocka_run_group_tests(const char *group_name,
                                             const struct CMUnitTest *const tests,
                                             const size_t num_tests, CMFixtureFunction group_setup,
                                             CMFixtureFunction group_teardown)
{
    run_group *real = (run_group *)cu__cmocka_real("_cmocka_run_group_tests");
    struct CMUnitTest *copy = calloc(num_tests, sizeof *copy);
    if (copy == NULL) {
        fputs("copper: out of memory before the tests\n", stderr);
        abort();
    }
    memcpy(copy, tests, num_tests * sizeof *copy);
    group.setup = group_setup;
    group.teardown = group_teardown;
    group.state = NULL;
    group.tests = copy;
    group.ntests = num_tests;
    int result = real(group_name, copy, num_tests, group_setup == NULL ? NULL : run_group_setup,
                      group_teardown == NULL ? NULL : run_group_teardown);
    free(copy);
    return result;
}
