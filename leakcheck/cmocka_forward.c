/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose. cmocka's mock queues and checked allocations, for callers on any thread.
 *
 * Design. cmocka keeps both per thread. Each call is made on the runner, where the test was set up
 * and where cmocka looks for what is left when it ends. All expect_* functions of cmocka go through
 * _expect_check, so that one definition serves them.
 */
#include "cmocka_int.h"

struct mock_call {
    const char *function, *file;
    int line;
    LargestIntegralType value;
};

static void call_mock(void *args)
{
    struct mock_call *c = args;
    LargestIntegralType (*real)(const char *, const char *, int) =
        (LargestIntegralType(*)(const char *, const char *, int))cu__cmocka_real("_mock");
    c->value = real(c->function, c->file, c->line);
}

COPPER_INTERPOSE LargestIntegralType _mock(const char *const function, const char *const file,
                                           const int line)
{
    struct mock_call c = {function, file, line, 0};
    cu__cmocka_on_runner(call_mock, &c);
    return c.value;
}

static void call_function_called(void *args)
{
    struct mock_call *c = args;
    void (*real)(const char *, const char *, int) =
        (void (*)(const char *, const char *, int))cu__cmocka_real("_function_called");
    real(c->function, c->file, c->line);
}

COPPER_INTERPOSE void _function_called(const char *const function, const char *const file,
                                       const int line)
{
    struct mock_call c = {function, file, line, 0};
    cu__cmocka_on_runner(call_function_called, &c);
}

struct expect_call {
    const char *function, *parameter, *file;
    int line, count;
    LargestIntegralType value;
    CheckParameterValue check;
    CheckParameterEvent *event;
};

static void call_will_return(void *args)
{
    struct expect_call *c = args;
    void (*real)(const char *, const char *, int, LargestIntegralType, int) = (void (*)(
        const char *, const char *, int, LargestIntegralType, int))cu__cmocka_real("_will_return");
    real(c->function, c->file, c->line, c->value, c->count);
}

COPPER_INTERPOSE void _will_return(const char *const function_name, const char *const file,
                                   const int line, const LargestIntegralType value, const int count)
{
    struct expect_call c = {
        .function = function_name, .file = file, .line = line, .value = value, .count = count};
    cu__cmocka_on_runner(call_will_return, &c);
}

static void call_expect_function_call(void *args)
{
    struct expect_call *c = args;
    void (*real)(const char *, const char *, int, int) =
        (void (*)(const char *, const char *, int, int))cu__cmocka_real("_expect_function_call");
    real(c->function, c->file, c->line, c->count);
}

COPPER_INTERPOSE void _expect_function_call(const char *const function_name, const char *const file,
                                            const int line, const int count)
{
    struct expect_call c = {.function = function_name, .file = file, .line = line, .count = count};
    cu__cmocka_on_runner(call_expect_function_call, &c);
}

static void call_expect_check(void *args)
{
    struct expect_call *c = args;
    void (*real)(const char *, const char *, const char *, int, CheckParameterValue,
                 LargestIntegralType, CheckParameterEvent *, int) =
        (void (*)(const char *, const char *, const char *, int, CheckParameterValue,
                  LargestIntegralType, CheckParameterEvent *, int))cu__cmocka_real("_expect_check");
    real(c->function, c->parameter, c->file, c->line, c->check, c->value, c->event, c->count);
}

COPPER_INTERPOSE void _expect_check(const char *const function, const char *const parameter,
                                    const char *const file, const int line,
                                    const CheckParameterValue check_function,
                                    const LargestIntegralType check_data,
                                    CheckParameterEvent *const event, const int count)
{
    struct expect_call c = {function, parameter,  file,           line,
                            count,    check_data, check_function, event};
    cu__cmocka_on_runner(call_expect_check, &c);
}

static void call_check_expected(void *args)
{
    struct expect_call *c = args;
    void (*real)(const char *, const char *, const char *, int, LargestIntegralType) =
        (void (*)(const char *, const char *, const char *, int,
                  LargestIntegralType))cu__cmocka_real("_check_expected");
    real(c->function, c->parameter, c->file, c->line, c->value);
}

COPPER_INTERPOSE void _check_expected(const char *const function_name,
                                      const char *const parameter_name, const char *file,
                                      const int line, const LargestIntegralType value)
{
    struct expect_call c = {.function = function_name,
                            .parameter = parameter_name,
                            .file = file,
                            .line = line,
                            .value = value};
    cu__cmocka_on_runner(call_check_expected, &c);
}

struct memory_call {
    void *block;
    size_t n, size;
    const char *file;
    int line;
};

static void call_malloc(void *args)
{
    struct memory_call *c = args;
    void *(*real)(size_t, const char *, int) =
        (void *(*)(size_t, const char *, int))cu__cmocka_real("_test_malloc");
    c->block = real(c->size, c->file, c->line);
}

COPPER_INTERPOSE void *_test_malloc(const size_t size, const char *file, const int line)
{
    struct memory_call c = {NULL, 1, size, file, line};
    cu__cmocka_on_runner(call_malloc, &c);
    return c.block;
}

static void call_calloc(void *args)
{
    struct memory_call *c = args;
    void *(*real)(size_t, size_t, const char *, int) =
        (void *(*)(size_t, size_t, const char *, int))cu__cmocka_real("_test_calloc");
    c->block = real(c->n, c->size, c->file, c->line);
}

COPPER_INTERPOSE void *_test_calloc(const size_t number_of_elements, const size_t size,
                                    const char *file, const int line)
{
    struct memory_call c = {NULL, number_of_elements, size, file, line};
    cu__cmocka_on_runner(call_calloc, &c);
    return c.block;
}

static void call_realloc(void *args)
{
    struct memory_call *c = args;
    void *(*real)(void *, size_t, const char *, int) =
        (void *(*)(void *, size_t, const char *, int))cu__cmocka_real("_test_realloc");
    c->block = real(c->block, c->size, c->file, c->line);
}

COPPER_INTERPOSE void *_test_realloc(void *ptr, const size_t size, const char *file, const int line)
{
    struct memory_call c = {ptr, 1, size, file, line};
    cu__cmocka_on_runner(call_realloc, &c);
    return c.block;
}

static void call_free(void *args)
{
    struct memory_call *c = args;
    void (*real)(void *, const char *, int) =
        (void (*)(void *, const char *, int))cu__cmocka_real("_test_free");
    real(c->block, c->file, c->line);
}

COPPER_INTERPOSE void _test_free(void *const ptr, const char *file, const int line)
{
    struct memory_call c = {ptr, 1, 0, file, line};
    cu__cmocka_on_runner(call_free, &c);
}
