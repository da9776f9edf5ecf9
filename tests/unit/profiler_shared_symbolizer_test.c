/* SPDX-License-Identifier: Apache-2.0
 *
 * The one symbolizer of all who name frames: many threads share it, one that has become too large
 * is replaced and goes with its last user, a forked child begins anew. Compiles the source in, to
 * see which there are.
 */
#include "shared_symbolizer.c"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
/* in this order */
#include <setjmp.h>

#include <cmocka.h>

#define FRAMES  70000u /* more than one remembers */
#define THREADS 4

static unsigned count(void)
{
    unsigned n = 0;
    for (struct shared *one = all; one; one = one->next) {
        n++;
    }
    return n;
}

/* A pc of no module has its address as its name. */
static void outgrow(struct cu_symbolizer *s)
{
    struct cu_symbol symbol;
    for (cu_frame pc = 1; pc <= FRAMES; pc++) {
        cu_symbolize(s, pc, &symbol);
        assert_false(symbol.is_named);
    }
}

static void is_shared_and_kept(void **state)
{
    (void)state;
    struct cu_symbolizer *first = cu__symbolizer_borrow(), *second = cu__symbolizer_borrow();
    assert_non_null(first);
    assert_ptr_equal(first, second);
    cu__symbolizer_return(first);
    cu__symbolizer_return(second);
    cu__symbolizer_return(NULL);
    assert_ptr_equal(cu__symbolizer_borrow(), first);
    cu__symbolizer_return(first);
    assert_int_equal(count(), 1);
}

static void outgrown_one_goes_with_its_last_user(void **state)
{
    (void)state;
    struct cu_symbol symbol;
    struct cu_symbolizer *large = cu__symbolizer_borrow();
    cu_symbolize(large, 0x1234, &symbol);
    const char *name = symbol.lines[0].function;
    outgrow(large);
    struct cu_symbolizer *next = cu__symbolizer_borrow();
    assert_non_null(next);
    assert_ptr_not_equal(next, large);
    assert_int_equal(count(), 2);
    assert_string_equal(name, "unknown+0x1234"); /* still there */
    cu__symbolizer_return(large);
    assert_int_equal(count(), 1);
    outgrow(next);
    cu__symbolizer_return(next); /* kept, until somebody wants one that is not */
    assert_int_equal(count(), 1);
    next = cu__symbolizer_borrow();
    assert_int_equal(count(), 1);
    assert_false(cu_symbolizer_is_outgrown(next));
    cu__symbolizer_return(next);
}

static void *name_and_check(void *arg)
{
    uintptr_t begin = (uintptr_t)arg;
    char expected[32];
    for (cu_frame pc = begin; pc < begin + FRAMES; pc++) {
        struct cu_symbolizer *s = cu__symbolizer_borrow();
        struct cu_symbol symbol;
        cu_symbolize(s, pc, &symbol);
        snprintf(expected, sizeof expected, "unknown+0x%llx", (unsigned long long)pc);
        assert_string_equal(symbol.lines[0].function, expected);
        cu__symbolizer_return(s);
    }
    return NULL;
}

/* They outgrow it several times between them. */
static void many_threads(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++) {
        void *begin = (void *)(1 + i * FRAMES / 2); /* half of them are another's, too */
        assert_int_equal(pthread_create(&threads[i], NULL, name_and_check, begin), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(count(), 1);
    assert_int_equal(all->users, 0);
}

static void child_begins_anew(void **state)
{
    (void)state;
    struct cu_symbolizer *s = cu__symbolizer_borrow();
    pthread_mutex_lock(&lock); /* as another thread may have it */
    pid_t pid = fork();
    if (pid == 0) {
        struct cu_symbolizer *own = cu__symbolizer_borrow();
        _exit(own && own != s && count() == 1 ? 0 : 1);
    }
    pthread_mutex_unlock(&lock);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    cu__symbolizer_return(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_shared_and_kept),
        cmocka_unit_test(outgrown_one_goes_with_its_last_user),
        cmocka_unit_test(many_threads),
        cmocka_unit_test(child_begins_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
