/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory runs out at every single allocation, once each: nothing crashes, nothing leaks, and
 * whoever asked is told -ENOMEM. The library's sources are compiled into this program and its calls
 * of the allocator come here (linker option --wrap), so that each can be refused and all are
 * counted.
 */
#include <copper/pprof.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t n);
void __real_free(void *bytes);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t n);
void __wrap_free(void *bytes);

static long calls, fail_at; /* fail_at 0: never */
static bool is_failing_on;  /* every call from fail_at on, not that one alone */
static long live;           /* allocated and not freed */

static bool is_refused(void)
{
    calls++;
    return fail_at && (calls == fail_at || (is_failing_on && calls > fail_at));
}

void *__wrap_malloc(size_t n)
{
    void *bytes = is_refused() ? NULL : __real_malloc(n);
    live += bytes != NULL;
    return bytes;
}

void *__wrap_calloc(size_t n, size_t size)
{
    void *bytes = is_refused() ? NULL : __real_calloc(n, size);
    live += bytes != NULL;
    return bytes;
}

void *__wrap_realloc(void *old, size_t n)
{
    void *bytes = is_refused() ? NULL : __real_realloc(old, n);
    live += bytes != NULL && old == NULL;
    return bytes;
}

void __wrap_free(void *bytes)
{
    live -= bytes != NULL;
    __real_free(bytes);
}

/* --- one run of everything ----------------------------------------------------------------- */

static char output[1 << 20];
static size_t output_size;

static int keep(void *ctx, const void *bytes, size_t n)
{
    (void)ctx;
    if (n > sizeof output - output_size)
        return -EFBIG;
    memcpy(output + output_size, bytes, n);
    output_size += n;
    return 0;
}

/* Enough of everything that each table grows more than once. */
static struct cu_pprof *build(void)
{
    struct cu_pprof *p = cu_pprof_new();
    char name[400];
    if (!p)
        return NULL;
    cu_pprof_sample_type(p, "n", "count");
    cu_pprof_period(p, "n", "count", 1);
    for (unsigned i = 0; i < 40; i++) {
        snprintf(name, sizeof name, "name %u \xff %0300u", i, i);
        cu_pprof_comment(p, name);
        uint32_t m = cu_pprof_mapping(p, &(struct cu_pprof_mapping){.start = i, .filename = name});
        uint32_t f = cu_pprof_function(p, &(struct cu_pprof_function){.name = name});
        uint32_t l = cu_pprof_location(p, m, i, &(struct cu_pprof_line){f, i}, 1);
        struct cu_pprof_label labels[] = {{.key = name, .num = i}, {.key = "k", .str = name}};
        struct cu_pprof_sample s = {&l, 1, &(int64_t){i}, labels, 2};
        int err = cu_pprof_sample(p, &s);
        if (err && err != -ENOMEM && err != -EINVAL)
            printf("FAIL: a sample says %d\n", err);
    }
    return p;
}

static int complaints;

static void expect_no_memory(const char *what, int err)
{
    if (err == 0 || err == -ENOMEM)
        return;
    printf("FAIL: %s says %d (allocation %ld)\n", what, err, fail_at);
    complaints++;
}

/* 0 when all went well, else the first error; every object is freed either way. */
static int run(const char *path)
{
    struct cu_pprof *a = build(), *b = NULL, *c = NULL;
    char error[200];
    int err = a ? 0 : -ENOMEM, step;
    if (!err) {
        output_size = 0;
        err = cu_pprof_write(a, keep, NULL);
        expect_no_memory("write", err);
    }
    if (!err) {
        err = cu_pprof_read(output, output_size, &b, error, sizeof error);
        expect_no_memory("read", err);
        if (err && !*error) {
            printf("FAIL: read fails without a word\n");
            complaints++;
        }
    }
    if (!err && (step = cu_pprof_write_file(a, path)) != 0)
        expect_no_memory("write_file", err = step);
    if (!err && (step = cu_pprof_read_file(path, &c, error, sizeof error)) != 0)
        expect_no_memory("read_file", err = step);
    if (!err) {
        cu_pprof_free(c);
        c = cu_pprof_new();
        err = c ? cu_pprof_merge(c, a) : -ENOMEM;
        expect_no_memory("merge", err);
        if (c && err && cu_pprof_error(c) == 0 && cu_pprof_nsamples(c)) {
            printf("FAIL: half a merge passes for a profile\n");
            complaints++;
        }
    }
    if (!err) {
        err = cu_pprof_merge(c, b);
        expect_no_memory("second merge", err);
    }
    cu_pprof_free(a);
    cu_pprof_free(b);
    cu_pprof_free(c);
    return err;
}

int main(void)
{
    char path[64];
    snprintf(path, sizeof path, "/tmp/copper_proto_oom.%d", (int)getpid());
    if (run(path) || live) {
        printf("FAIL: with memory enough: %ld objects leaked\n", live);
        return 1;
    }
    long total = calls, unnoticed = 0;
    for (int mode = 0; mode < 2; mode++) {
        is_failing_on = mode;
        for (long n = 1; n <= total && complaints < 10; n++) {
            calls = 0;
            fail_at = n;
            int err = run(path);
            unnoticed += err == 0;
            if (live) {
                printf("FAIL: %ld objects leaked after allocation %ld was refused\n", live, n);
                complaints++;
                live = 0;
            }
        }
    }
    unlink(path);
    printf("%ld allocations, each refused alone and with all after it: %ld unnoticed\n", total,
           unnoticed);
    /* none of ours is optional */
    return complaints || unnoticed || total < 100;
}
