/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the allocator wrapper. At rate 1 every allocation is a sample, so counts are exact; each
 * test tells its own apart by a size that nobody else uses.
 */
#include <copper/heap.h>
#include <errno.h>
#include <malloc.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define IS_REPLACED 1 /* a sanitizer's malloc comes first */
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define IS_REPLACED 1
#endif
#endif
#ifndef IS_REPLACED
#define IS_REPLACED 0
#endif

static void *volatile sink;

static void skip_unless_active(void)
{
    struct cu_heap_stats stats = {.size = sizeof stats};
    cu_heap_stats_read(&stats);
    if (!stats.is_active) {
        skip(); /* a sanitizer's malloc comes first */
    }
}

struct sum {
    uint64_t size; /* class looked for */
    uint64_t allocs, alloc_bytes, frees, free_bytes, nframes_min;
};

static bool add(const struct cu_heap_site *s, void *arg)
{
    struct sum *sum = arg;
    if (s->size == sum->size) {
        sum->allocs += s->allocs;
        sum->alloc_bytes += s->alloc_bytes;
        sum->frees += s->frees;
        sum->free_bytes += s->free_bytes;
        sum->nframes_min = s->nframes < sum->nframes_min ? s->nframes : sum->nframes_min;
    }
    return true;
}

static struct sum sum_of(uint64_t size)
{
    struct sum sum = {.size = size, .nframes_min = UINT64_MAX};
    assert_true(cu_heap_each(add, &sum) >= 0);
    return sum;
}

#define CLASS(n) ((uint64_t)(n) << 20) /* sizes of whole MiB up to 16 are classes */

static void every_call(void **state)
{
    (void)state;
    skip_unless_active();
    assert_int_equal(cu_heap_rate_set(1), 0);
    size_t n = 3u << 20;
    void *p[8], *q = NULL;
    p[0] = malloc(n);
    p[1] = calloc(3, 1u << 20);
    p[2] = realloc(NULL, n);
    p[3] = reallocarray(NULL, 3, 1u << 20);
    assert_int_equal(posix_memalign(&q, 64, n), 0);
    p[4] = q;
    p[5] = aligned_alloc(4096, n);
    p[6] = memalign(256, n);
    p[7] = valloc(n);
    struct sum sum = sum_of(CLASS(3));
    assert_int_equal(sum.allocs, 8);
    assert_int_equal(sum.alloc_bytes, 8 * n);
    assert_int_equal(sum.frees, 0);
    assert_true(sum.nframes_min >= 2);
    for (int i = 0; i < 8; i++) {
        assert_true(malloc_usable_size(p[i]) >= n);
        free(p[i]);
    }
    sum = sum_of(CLASS(3));
    assert_int_equal(sum.allocs, 8);
    assert_int_equal(sum.frees, 8);
    assert_int_equal(sum.free_bytes, 8 * n);
}

static void growth(void **state)
{
    (void)state;
    skip_unless_active();
    cu_heap_rate_set(1);
    char *p = NULL;
    for (size_t n = 1; n <= 5; n++) {
        p = realloc(p, n << 20);
        assert_non_null(p);
        p[0] = 'x';
    }
    struct sum four = sum_of(CLASS(4)), five = sum_of(CLASS(5));
    assert_int_equal(four.allocs - four.frees, 0);
    assert_int_equal(five.allocs - five.frees, 1);
    /* a host that refuses leaves the block where it is, and so do we */
    size_t volatile much = SIZE_MAX / 2;
    errno = 0;
    assert_null(realloc(p, much));
    assert_int_equal(errno, ENOMEM);
    five = sum_of(CLASS(5));
    assert_int_equal(five.allocs - five.frees, 1);
    sink = p;
    free(p);
    five = sum_of(CLASS(5));
    assert_int_equal(five.allocs, five.frees);
}

static void *free_it(void *p)
{
    free(p);
    return NULL;
}

static void *churn(void *arg)
{
    enum { LIVE = 32 };
    void *live[LIVE] = {NULL};
    for (unsigned i = 0; i < 4000; i++) {
        free(live[i % LIVE]);
        live[i % LIVE] = malloc(6u << 20);
    }
    for (unsigned i = 0; i < LIVE; i++) {
        free(live[i]);
    }
    return arg;
}

static void threads(void **state)
{
    (void)state;
    skip_unless_active();
    cu_heap_rate_set(1);
    pthread_t t[4];
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&t[i], NULL, churn, NULL), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(t[i], NULL);
    }
    void *p = malloc(6u << 20);
    assert_int_equal(pthread_create(&t[0], NULL, free_it, p), 0);
    pthread_join(t[0], NULL);
    struct sum sum = sum_of(CLASS(6));
    assert_int_equal(sum.allocs, 4 * 4000 + 1);
    assert_int_equal(sum.frees, sum.allocs);
}

static _Atomic int is_over;

static void *churn_until_over(void *arg)
{
    while (!is_over) {
        free(malloc(1000));
    }
    return arg;
}

/* A child forked while others allocate can allocate, free what it inherited, and be profiled. */
static void forked(void **state)
{
    (void)state;
    skip_unless_active();
    cu_heap_rate_set(1);
    pthread_t t[2];
    void *p = malloc(7u << 20);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&t[i], NULL, churn_until_over, NULL), 0);
    }
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        if (child == 0) {
            alarm(20);
            void *q = malloc(8u << 20);
            free(p);
            struct sum seven = sum_of(CLASS(7)), eight = sum_of(CLASS(8));
            bool is_right = seven.allocs == seven.frees && eight.allocs == eight.frees + 1;
            free(q);
            _exit(is_right ? 0 : 1);
        }
        int status = -1;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    is_over = 1;
    for (int i = 0; i < 2; i++) {
        pthread_join(t[i], NULL);
    }
    free(p);
}

/* The chance of being sampled is what is claimed, for sizes around and far from the rate. */
static void chance(void **state)
{
    (void)state;
    skip_unless_active();
    const double rate = 64 << 10;
    const size_t sizes[] = {9 << 10, 72 << 10, 288 << 10};
    for (int i = 0; i < 3; i++) {
        const unsigned n = 20000;
        struct sum before = sum_of(sizes[i]);
        cu_heap_rate_set((uint64_t)rate);
        for (unsigned k = 0; k < n; k++) {
            sink = malloc(sizes[i]);
            free(sink);
        }
        cu_heap_rate_set(0);
        struct sum after = sum_of(sizes[i]);
        double chance = 1 - exp(-(double)sizes[i] / rate), mean = n * chance;
        double sigma = sqrt(n * chance * (1 - chance));
        double got = (double)(after.allocs - before.allocs);
        assert_true(fabs(got - mean) < 5 * sigma + 1);
        assert_int_equal(after.allocs, after.frees);
    }
}

static void arguments(void **state)
{
    (void)state;
    assert_int_equal(cu_heap_rate_set(COPPER_HEAP_RATE_MAX + 1), -EINVAL);
    assert_int_equal(cu_heap_rate_set(0), 0);
    assert_int_equal(cu_heap_rate(), 0);
    size_t volatile much = SIZE_MAX / 2;
    errno = 0;
    assert_null(calloc(much, 16));
    assert_int_equal(errno, ENOMEM);
    errno = 0;
    assert_null(reallocarray(NULL, much, 16));
    assert_int_equal(errno, ENOMEM);
    void *p = malloc(0);
    free(p);
    free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_call), cmocka_unit_test(growth), cmocka_unit_test(threads),
        cmocka_unit_test(forked),     cmocka_unit_test(chance), cmocka_unit_test(arguments),
    };
    return IS_REPLACED ? 77 : cmocka_run_group_tests(tests, NULL, NULL);
}
