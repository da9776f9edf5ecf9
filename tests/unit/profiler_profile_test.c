/* SPDX-License-Identifier: Apache-2.0
 *
 * copper/profile.h: profiles from C, to every destination; profiles of the program's own, from
 * threads and coroutines, on a stack of another library too; what fails, fails whole.
 */
#include <copper/chan.h>
#include <copper/inspect.h>
#include <copper/pprof.h>
#include <copper/profile.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <copper/trace.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "coroutine_body.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SANITIZED 1
#endif
#endif

static struct cu_profile *things;
/* After a call: it is not the last thing its function does, or the function's frame would be gone.
 */
#define KEEP_FRAME() __asm__ volatile("" ::: "memory")

static struct cu_profile_options options_with(int debug, int64_t window_ns)
{
    return (struct cu_profile_options){COPPER_PROFILE_OPTIONS, .debug = debug,
                                       .window_ns = window_ns};
}

/* ---- reading back ---------------------------------------------------------------------------- */

static const char *function_at(const struct cu_pprof *p, uint32_t location)
{
    const struct cu_pprof_line *lines;
    struct cu_pprof_function f = {.name = "?"};
    uint32_t mapping;
    uint64_t address;
    size_t n = 0;
    if (cu_pprof_location_at(p, location, &mapping, &address, &lines, &n) && n > 0) {
        cu_pprof_function_at(p, lines[n - 1].function, &f);
    }
    return f.name;
}

/* Is this the function, or a copy that the compiler made of it ("f.constprop.0")? */
static bool is_function(const char *name, const char *function)
{
    size_t n = strlen(function);
    return strncmp(name, function, n) == 0 && (name[n] == '\0' || name[n] == '.');
}

/* The values of samples whose leaf is `leaf` (NULL: any) and that go through `through`. */
static int64_t count_of(const struct cu_pprof *p, const char *leaf, const char *through)
{
    int64_t sum = 0;
    for (size_t i = 0; i < cu_pprof_nsamples(p); i++) {
        struct cu_pprof_sample s;
        bool is_through = false;
        cu_pprof_sample_at(p, i, &s, NULL, 0);
        for (size_t j = 0; j < s.nlocations; j++) {
            is_through |= is_function(function_at(p, s.locations[j]), through);
        }
        if (is_through && (!leaf || is_function(function_at(p, s.locations[0]), leaf))) {
            sum += s.values[0];
        }
    }
    return sum;
}

static struct cu_pprof *read_back(const void *bytes, size_t n)
{
    struct cu_pprof *p = NULL;
    char error[160] = "";
    assert_int_equal(cu_pprof_read(bytes, n, &p, error, sizeof error), 0);
    return p;
}

/* ---- profiles of the program's own ----------------------------------------------------------- */

static void names_are_checked(void **state)
{
    static const char *const bad[] = {
        "",         "9lives",
        "a b",      "a/b",
        "<i>",      "a?b",
        "\xc3\xa4", "a123456789012345678901234567890123456789012345678901234567890123"};
    static const char *const taken[] = {"goroutine", "heap",  "profile", "symbol",
                                        "cmdline",   "trace", "wall",    "hog"};
    struct cu_profile *p = things;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(cu_profile_new(bad[i], &p), -EINVAL);
        assert_null(p);
    }
    assert_int_equal(cu_profile_new(NULL, &p), -EINVAL);
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++) {
        assert_int_equal(cu_profile_new(taken[i], &p), -EEXIST);
    }
    char name[] = "unit.some-things_2";
    assert_int_equal(cu_profile_new(name, &things), 0);
    name[0] = 'X'; /* it was copied */
    assert_int_equal(cu_profile_new("unit.some-things_2", &p), -EEXIST);
    assert_ptr_equal(cu_profile_lookup("unit.some-things_2"), things);
    assert_string_equal(cu_profile_name(things), "unit.some-things_2");
    assert_null(cu_profile_lookup("nothing"));
    assert_null(cu_profile_lookup("profile")); /* no list of stacks */
}

static bool note_name(struct cu_profile *p, void *arg)
{
    char *names = arg;
    strcat(strcat(names, cu_profile_name(p)), " ");
    return strcmp(cu_profile_name(p), "threadcreate") != 0;
}

static void all_are_visited_in_order(void **state)
{
    struct cu_profile *p;
    char names[512] = "";
    (void)state;
    assert_int_equal(cu_profile_new("zeros", &p), 0);
    assert_int_equal(cu_profile_new("all", &p), 0);
    cu_profile_each(note_name, names);
    assert_string_equal(names, "all allocs block goroutine heap hog mutex schedule threadcreate ");
    assert_true(cu_profile_count(cu_profile_lookup("threadcreate")) >= 1);
    assert_int_equal(cu_profile_add(cu_profile_lookup("heap"), &p, 0), -EPERM);
    assert_int_equal(cu_profile_remove(cu_profile_lookup("heap"), &p), -EPERM);
    assert_int_equal(cu_profile_add(NULL, &p, 0), -EPERM);
    assert_int_equal(cu_profile_remove(NULL, &p), -EPERM);
}

static __attribute__((noinline)) int add_thing(const void *value, int skip)
{
    int err = cu_profile_add(things, value, skip);
    KEEP_FRAME();
    return err;
}

static __attribute__((noinline)) int add_from_outside(const void *value, int skip)
{
    int err = add_thing(value, skip);
    KEEP_FRAME();
    return err;
}

static void counts_by_stack(void **state)
{
    struct cu_pprof *p;
    const char *type, *unit;
    (void)state;
    for (uintptr_t i = 0; i < 10; i++) {
        assert_int_equal(add_from_outside((void *)i, 0), 0);
    }
    assert_int_equal(add_from_outside((void *)10, 1), 0);
    assert_int_equal(add_from_outside((void *)11, 100), 0); /* nothing is left of its stack */
    assert_int_equal(add_from_outside((void *)3, 0), -EEXIST);
    assert_int_equal(cu_profile_count(things), 12);
    assert_int_equal(cu_profile_take("unit.some-things_2", NULL, &p), 0);
    cu_pprof_sample_type_at(p, 0, &type, &unit);
    assert_string_equal(type, "unit_some_things_2");
    assert_string_equal(unit, "count");
    assert_int_equal(count_of(p, "add_thing", "main"), 10);
    assert_int_equal(count_of(p, "add_from_outside", "main"), 1);
    assert_int_equal(count_of(p, "[stack unknown]", "[stack unknown]"), 1);
    cu_pprof_free(p);
    for (uintptr_t i = 0; i < 12; i++) {
        assert_int_equal(cu_profile_remove(things, (void *)i), 0);
    }
    assert_int_equal(cu_profile_remove(things, (void *)3), -ENOENT);
    assert_int_equal(cu_profile_count(things), 0);
    assert_int_equal(cu_profile_take("unit.some-things_2", NULL, &p), 0);
    assert_int_equal(cu_pprof_nsamples(p), 0);
    cu_pprof_free(p);
}

#define WORKERS 4
#define ROUNDS  300

static char places[2 * WORKERS][ROUNDS];
static atomic_int failures;

static void come_and_go(char *mine)
{
    for (int i = 0; i < ROUNDS; i++) {
        failures += add_thing(&mine[i], 0) != 0;
        failures += i % 3 && cu_profile_remove(things, &mine[i]) != 0;
    }
    for (int i = 0; i < ROUNDS; i += 3) {
        failures += cu_profile_remove(things, &mine[i]) != 0;
    }
}

static void coroutine(void *mine)
{
    come_and_go(mine);
}

static void *thread(void *mine)
{
    come_and_go(mine);
    return NULL;
}

/* From both at once, while it is read. */
COROUTINE_TEST(threads_and_coroutines)
{
    cu_wg wg = {0};
    pthread_t threads[WORKERS];
    struct cu_pprof *p;
    for (int i = 0; i < WORKERS; i++) {
        cu_wg_go(&wg, coroutine, places[i]);
        expect(pthread_create(&threads[i], NULL, thread, places[WORKERS + i]) == 0);
    }
    for (int i = 0; i < 3; i++) {
        expect(cu_profile_take("unit.some-things_2", NULL, &p) == 0);
        cu_pprof_free(p);
        cu_yield();
    }
    for (int i = 0; i < WORKERS; i++) {
        pthread_join(threads[i], NULL);
    }
    cu_wg_wait(&wg);
    expect(failures == 0 && cu_profile_count(things) == 0);
    /* a coroutine's stack is complete */
    expect(add_thing(&wg, 0) == 0);
    expect(cu_profile_take("unit.some-things_2", NULL, &p) == 0);
    expect(count_of(p, "add_thing", "threads_and_coroutines_body") == 1);
    cu_pprof_free(p);
    expect(cu_profile_remove(things, &wg) == 0);
    return 0;
}

/* A child has what was held, and may go on. */
static void forked_child(void **state)
{
    int status = 0;
    (void)state;
    assert_int_equal(add_thing(&status, 0), 0);
    pid_t pid = fork();
    if (pid == 0) {
        _exit(cu_profile_count(things) == 1 && cu_profile_remove(things, &status) == 0 &&
                      add_thing(&pid, 0) == 0
                  ? 0
                  : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(cu_profile_remove(things, &status), 0);
}

/* ---- stacks of other libraries --------------------------------------------------------------- */

#ifndef IS_SANITIZED /* they know no stacks but those that they are told of */

#define FIBRE_BYTES 65536

static ucontext_t outside, inside;
static cu_mutex mutex;
static atomic_bool is_held;

static void hold_for_a_while(void *unused)
{
    (void)unused;
    cu_mutex_lock(&mutex);
    is_held = true;
    cu_sleep(5 * COPPER_MS);
    cu_mutex_unlock(&mutex);
}

static __attribute__((noinline)) void wait_on_fibre(void)
{
    cu_mutex_lock(&mutex);
    cu_mutex_unlock(&mutex);
    KEEP_FRAME();
}

static void fibre(void)
{
    failures += add_thing(&outside, 0) != 0;
    wait_on_fibre();
    KEEP_FRAME();
}

/* A stack that ends at its mapping's end, with nothing readable beyond. */
static void *on_fibre(void *unused)
{
    char *memory =
        mmap(NULL, FIBRE_BYTES + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(memory + FIBRE_BYTES, 4096, PROT_NONE);
    getcontext(&inside);
    inside.uc_stack.ss_sp = memory;
    inside.uc_stack.ss_size = FIBRE_BYTES;
    inside.uc_link = &outside;
    makecontext(&inside, fibre, 0);
    swapcontext(&outside, &inside);
    return unused;
}

/* Waits on a fibre for a mutex that is held, and returns how many such waits were counted so far:
 * the holder may be late. */
static int64_t wait_once(void)
{
    pthread_t t;
    struct cu_pprof *p;
    is_held = false;
    cu_go(hold_for_a_while, NULL);
    while (!is_held) {
        usleep(100);
    }
    assert_int_equal(pthread_create(&t, NULL, on_fibre, NULL), 0);
    pthread_join(t, NULL);
    assert_int_equal(failures, 0);
    assert_int_equal(cu_profile_take("unit.some-things_2", NULL, &p), 0);
    assert_int_equal(count_of(p, "add_thing", "fibre"), 1);
    cu_pprof_free(p);
    assert_int_equal(cu_profile_remove(things, &outside), 0);
    assert_int_equal(cu_profile_take("block", NULL, &p), 0);
    int64_t count = count_of(p, NULL, "wait_on_fibre");
    assert_int_equal(count_of(p, NULL, "fibre"), count);
    cu_pprof_free(p);
    return count;
}

static void fibres_of_others(void **state)
{
    (void)state;
    assert_int_equal(cu_profile_block_rate(1), 0);
    for (int i = 0; wait_once() == 0; i++) {
        assert_true(i < 1000);
    }
    assert_int_equal(cu_profile_block_rate(0), 0);
}

#else

static void fibres_of_others(void **state)
{
    (void)state;
    skip();
}

#endif

/* ---- CPU ------------------------------------------------------------------------------------- */

static __attribute__((noinline)) void burn(int64_t cpu_ns)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    int64_t end = t.tv_sec * COPPER_SEC + t.tv_nsec + cpu_ns;
    do {
        for (volatile int i = 0; i < 10000; i++) {
        }
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    } while (t.tv_sec * COPPER_SEC + t.tv_nsec < end);
}

static __attribute__((noinline)) void burn_before(void)
{
    burn(150 * COPPER_MS);
    KEEP_FRAME();
}

/* Not the same as burn_before, or the compiler makes one function of the two. */
static __attribute__((noinline)) void burn_after(void)
{
    burn(151 * COPPER_MS);
    KEEP_FRAME();
}

static void cpu_from_start_to_stop(void **state)
{
    struct cu_cpu_profile *cpu, *other;
    void *bytes = &cpu;
    size_t n = 1;
    (void)state;
    assert_int_equal(cu_profile_cpu_start(-1, &cpu), -EINVAL);
    assert_null(cpu);
    assert_int_equal(cu_profile_cpu_start(COPPER_CPU_HZ_MAX + 1, &cpu), -EINVAL);
    assert_int_equal(cu_profile_cpu_start(200, &cpu), 0);
    assert_int_equal(cu_profile_cpu_start(0, &other), 0); /* several at once */
    burn_before();
    cu_profile_cpu_drop(other);
    assert_int_equal(cu_profile_cpu_stop(cpu, cu_to_file("/dev/full")), -ENOSPC);
    assert_int_equal(cu_profile_cpu_stop(cpu, cu_to_file("/no/such/folder")), -ENOENT);
    burn_after(); /* it has ended: this is not in it */
    assert_int_equal(cu_profile_cpu_stop(cpu, cu_to_memory(&bytes, &n)), 0);
    struct cu_pprof *p = read_back(bytes, n);
    assert_true(count_of(p, NULL, "burn_before") > 0);
    assert_int_equal(count_of(p, NULL, "burn_after"), 0);
    cu_pprof_free(p);
    free(bytes);
    cu_profile_cpu_drop(NULL);
    assert_int_equal(cu_profile_cpu_stop(NULL, cu_to_memory(&bytes, &n)), -EINVAL);
}

static void cpu_in_a_forked_child(void **state)
{
    struct cu_cpu_profile *cpu;
    int status;
    (void)state;
    assert_int_equal(cu_profile_cpu_start(0, &cpu), 0);
    pid_t pid = fork();
    if (pid == 0) {
        int err = cu_profile_cpu_stop(cpu, cu_to_file("/dev/null"));
        cu_profile_cpu_drop(cpu);
        _exit(err == -ESRCH ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(cu_profile_cpu_stop(cpu, cu_to_file("/dev/null")), 0);
}

/* ---- by name --------------------------------------------------------------------------------- */

static void options_must_fit(void **state)
{
    struct cu_profile_options text_and_window = options_with(1, COPPER_MS);
    struct cu_profile_options window = options_with(0, COPPER_MS), text = options_with(1, 0);
    struct cu_profile_options negative = options_with(-1, 0);
    struct cu_profile_options long_window = options_with(0, (COPPER_SECONDS_MAX + 1) * COPPER_SEC);
    struct cu_profile_to nowhere = cu_to_file("/dev/null");
    struct cu_pprof *p;
    (void)state;
    assert_int_equal(cu_profile_write("nothing", nowhere, NULL), -ENOENT);
    assert_int_equal(cu_profile_write("nothing", nowhere, &text), -ENOENT);
    assert_int_equal(cu_profile_write("cmdline", nowhere, NULL), -ENOENT);
    assert_int_equal(cu_profile_write("symbol", nowhere, &text), -ENOENT);
    assert_int_equal(cu_profile_write("goroutine", nowhere, &text_and_window), -EINVAL);
    assert_int_equal(cu_profile_write("goroutine", nowhere, &negative), -EINVAL);
    assert_int_equal(cu_profile_write("goroutine", nowhere, &long_window), -EINVAL);
    assert_int_equal(cu_profile_write("profile", nowhere, NULL), -EINVAL);
    assert_int_equal(cu_profile_write("profile", nowhere, &text), -EINVAL);
    assert_int_equal(cu_profile_write("wall", nowhere, NULL), -EINVAL);
    assert_int_equal(cu_profile_write("trace", nowhere, NULL), -EINVAL);
    assert_int_equal(cu_profile_write("unit.some-things_2", nowhere, &window), -EINVAL);
    assert_int_equal(cu_profile_take("goroutine", &text, &p), -EINVAL);
    assert_int_equal(cu_profile_take("trace", &window, &p), -ENOENT);
    assert_null(p);
    assert_int_equal(cu_profile_write("wall", nowhere, &window), 0);
    assert_int_equal(cu_profile_write("profile", nowhere, &window), 0);
    assert_int_equal(cu_profile_write("threadcreate", nowhere, &window), 0);
    assert_int_equal(cu_profile_write("heap", nowhere, NULL), 0);
    /* a caller of an older version knows fewer options */
    struct cu_profile_options old = {.size = offsetof(struct cu_profile_options, hz), .hz = -1};
    assert_int_equal(cu_profile_write("goroutine", nowhere, &old), 0);
    struct cu_profile_options without_size = {.debug = 2}; /* what it asks for cannot be told */
    assert_int_equal(cu_profile_write("goroutine", nowhere, &without_size), -EINVAL);
}

/* What cannot be written is not waited for. */
static void destinations_come_first(void **state)
{
    struct cu_profile_options minute = options_with(0, 60 * COPPER_SEC);
    int64_t start = cu_now();
    (void)state;
    assert_int_equal(cu_profile_write("block", cu_to_file("/no/such/folder"), &minute), -ENOENT);
    assert_int_equal(cu_profile_write("wall", cu_to_file("/no/such/folder"), &minute), -ENOENT);
    assert_int_equal(cu_profile_cpu_file("/no/such/folder", 60, 0), -ENOENT);
    assert_true(cu_now() - start < 30 * COPPER_SEC);
}

static int refuse(void *calls, const void *bytes, size_t n)
{
    (void)bytes, (void)n;
    ++*(int *)calls;
    return -EDQUOT;
}

static void destinations(void **state)
{
    struct cu_profile_options text = options_with(1, 0), dump = options_with(2, 0);
    dump.with_threads = true;
    char path[] = "/tmp/copper-profile-XXXXXX", read_bytes[64] = "";
    void *bytes = path;
    size_t n = 7;
    int calls = 0, fds[2];
    (void)state;
    assert_int_equal(cu_profile_write("threadcreate", cu_to_writer(refuse, &calls), NULL), -EDQUOT);
    assert_int_equal(calls, 1);
    assert_int_equal(cu_profile_write("goroutine", cu_to_writer(refuse, &calls), &text), -EDQUOT);
    assert_int_equal(cu_profile_write("goroutine", cu_to_file("/dev/full"), &text), -ENOSPC);
    assert_int_equal(cu_profile_write("goroutine", cu_to_file("/dev/full"), NULL), -ENOSPC);
    assert_int_equal(cu_profile_write("nothing", cu_to_memory(&bytes, &n), NULL), -ENOENT);
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_int_equal(cu_profile_write("goroutine", cu_to_fd(full), &dump), -ENOSPC);
    close(full);

    assert_int_equal(cu_profile_write("goroutine", cu_to_memory(&bytes, &n), &dump), 0);
    assert_true(n > 10 && memcmp(bytes, "goroutine ", 10) == 0);
    free(bytes);

    assert_int_equal(add_thing(path, 0), 0);
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(cu_profile_write("unit.some-things_2", cu_to_fd(fds[1]), &text), 0);
    close(fds[1]);
    assert_true(read(fds[0], read_bytes, sizeof read_bytes - 1) > 40);
    close(fds[0]);
    assert_memory_equal(read_bytes, "unit_some_things_2 profile: total 1\n1 @ 0x", 42);
    assert_int_equal(cu_profile_remove(things, path), 0);

    close(mkstemp(path));
    assert_int_equal(cu_profile_write("threadcreate", cu_to_file(path), NULL), 0);
    struct cu_pprof *p = NULL;
    assert_int_equal(cu_pprof_read_file(path, &p, read_bytes, sizeof read_bytes), 0);
    assert_true(cu_pprof_nsamples(p) >= 1);
    cu_pprof_free(p);
    unlink(path);
}

/* ---- windows and rates of the runtime's profiles --------------------------------------------- */

static void sleep_and_end(void *unused)
{
    (void)unused;
    cu_sleep(2 * COPPER_MS);
}

static void *window_of(void *profile)
{
    struct cu_profile_options window = options_with(0, 300 * COPPER_MS);
    failures += cu_profile_take("block", &window, profile) != 0;
    return NULL;
}

COROUTINE_TEST(a_window_turns_it_on)
{
    struct cu_pprof *p = NULL;
    pthread_t t;
    expect(pthread_create(&t, NULL, window_of, &p) == 0);
    for (int i = 0; i < 100; i++) {
        cu_wg wg = {0};
        cu_wg_go(&wg, sleep_and_end, NULL);
        cu_wg_wait(&wg);
    }
    pthread_join(t, NULL);
    expect(failures == 0 && p);
    cu_pprof_free(p);
    return 0;
}

/* A rate of ages: what counts is rare, and sums stay sums. */
COROUTINE_TEST(rates_beyond_all_measure)
{
    struct cu_pprof *p = NULL;
    expect(cu_profile_block_rate(INT64_MAX) == 0);
    expect(cu_profile_mutex_fraction(INT32_MAX) == 0);
    expect(cu_profile_mutex_fraction(-1) == 1000000);
    for (int i = 0; i < 50; i++) {
        cu_wg wg = {0};
        cu_wg_go(&wg, sleep_and_end, NULL);
        cu_wg_wait(&wg);
    }
    expect(cu_profile_block_rate(0) == 0 && cu_profile_mutex_fraction(0) == 1000000);
    expect(cu_profile_take("block", NULL, &p) == 0);
    for (size_t i = 0; i < cu_pprof_nsamples(p); i++) {
        struct cu_pprof_sample s;
        cu_pprof_sample_at(p, i, &s, NULL, 0);
        expect(s.values[0] >= 0 && s.values[1] >= 0);
    }
    cu_pprof_free(p);
    return 0;
}

/* ---- traces ---------------------------------------------------------------------------------- */

COROUTINE_TEST(traces)
{
    struct cu_profile_options window = options_with(0, 20 * COPPER_MS);
    char folder[] = "/tmp/copper-profile-XXXXXX", path[64];
    void *bytes;
    size_t n;
    struct cu_trace *trace;
    struct stat st;
    expect(cu_profile_write("trace", cu_to_memory(&bytes, &n), &window) == 0);
    expect(n > 16 && memcmp(bytes, "go 1.22 trace\0\0\0", 16) == 0);
    free(bytes);
    expect(cu_profile_write("trace", cu_to_file("/dev/full"), &window) == -ENOSPC);
    /* the file is there when it is whole, and what was there stays when it is not */
    expect(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/t", folder);
    expect(cu_trace_start_file(path, &trace) == 0);
    expect(access(path, F_OK) != 0);
    cu_yield();
    expect(cu_trace_stop(trace) == 0);
    expect(stat(path, &st) == 0 && st.st_size > 16);
    expect(cu_trace_start_file("/dev/full", &trace) == 0 ? cu_trace_stop(trace) == -ENOSPC : true);
    expect(cu_trace_start_file("/no/such/folder", &trace) == -ENOENT);
    unlink(path);
    expect(rmdir(folder) == 0); /* nothing is left beside it */
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_checked),
        cmocka_unit_test(all_are_visited_in_order),
        cmocka_unit_test(counts_by_stack),
        cmocka_unit_test(forked_child),
        cmocka_unit_test(threads_and_coroutines),
        cmocka_unit_test(fibres_of_others),
        cmocka_unit_test(cpu_from_start_to_stop),
        cmocka_unit_test(cpu_in_a_forked_child),
        cmocka_unit_test(options_must_fit),
        cmocka_unit_test(destinations),
        cmocka_unit_test(destinations_come_first),
        cmocka_unit_test(a_window_turns_it_on),
        cmocka_unit_test(rates_beyond_all_measure),
        cmocka_unit_test(traces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
