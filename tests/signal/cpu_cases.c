/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: how the CPU sampler behaves beside what programs do with signals, stacks and processes.
 *
 *     cpu_cases CASE
 *
 * Each case is a process of its own, because what it leaves behind is part of what is tested.
 */
#include <copper/pprof.h>
#include <copper/profiler.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition);          \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static char file[64];
static atomic_bool is_over;
static atomic_int foreign_seen;
static atomic_ulong sink;

static int64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000 + t.tv_nsec;
}

__attribute__((noinline)) static void burn(int64_t cpu_ns)
{
    int64_t end = clock_ns(CLOCK_THREAD_CPUTIME_ID) + cpu_ns;
    uint64_t x = 1;
    while (clock_ns(CLOCK_THREAD_CPUTIME_ID) < end) {
        for (int i = 0; i < 20000; i++) {
            x = x * 6364136223846793005u + 1;
            __asm__ volatile("" : "+r"(x));
        }
    }
    atomic_store_explicit(&sink, x, memory_order_relaxed);
}

static void *burn_until_over(void *unused)
{
    while (!is_over) {
        burn(1000000);
    }
    return unused;
}

static void note_foreign(int number)
{
    (void)number;
    foreign_seen++;
}

static struct cu_pprof *read_profile(const char *path)
{
    char error[256];
    struct cu_pprof *profile;
    CHECK(cu_pprof_read_file(path, &profile, error, sizeof error) == 0);
    unlink(path);
    return profile;
}

static struct cu_pprof *profile_for(double seconds, int hz, const char *path)
{
    int err = cu_profile_cpu_file(path, seconds, hz);
    if (err) {
        fprintf(stderr, "cu_profile_cpu_file: %s\n", strerror(-err));
        exit(1);
    }
    return read_profile(path);
}

static int64_t sum_of(const struct cu_pprof *p)
{
    int64_t sum = 0, period;
    cu_pprof_times(p, &sum, &sum, &period);
    sum = 0;
    for (size_t i = 0; i < cu_pprof_nsamples(p); i++) {
        struct cu_pprof_sample sample;
        struct cu_pprof_label labels[20];
        cu_pprof_sample_at(p, i, &sample, labels, 20);
        CHECK(sample.values[1] == sample.values[0] * period);
        sum += sample.values[1];
    }
    return sum;
}

/* A profile that has samples: on a crowded machine a short window may have none. */
static struct cu_pprof *profile_with_samples(double seconds, int hz)
{
    struct cu_pprof *p = profile_for(seconds, hz, file);
    for (int i = 0; i < 20 && sum_of(p) == 0; i++) {
        cu_pprof_free(p);
        p = profile_for(seconds, hz, file);
    }
    CHECK(sum_of(p) > 0);
    return p;
}

static bool has_comment(const struct cu_pprof *p, const char *part)
{
    for (size_t i = 0; i < cu_pprof_ncomments(p); i++) {
        if (strstr(cu_pprof_comment_at(p, i), part)) {
            return true;
        }
    }
    return false;
}

/* Whether a sample has the function in its stack, and a label key=value if key is given. */
static bool has_sample(const struct cu_pprof *p, const char *function, const char *key,
                       const char *value)
{
    for (size_t i = 0; i < cu_pprof_nsamples(p); i++) {
        struct cu_pprof_sample sample;
        struct cu_pprof_label labels[20];
        size_t nlabels = cu_pprof_sample_at(p, i, &sample, labels, 20);
        bool is_found = false, is_labelled = key == NULL;
        for (size_t l = 0; l < sample.nlocations; l++) {
            const struct cu_pprof_line *lines;
            size_t nlines;
            uint32_t mapping;
            uint64_t address;
            CHECK(
                cu_pprof_location_at(p, sample.locations[l], &mapping, &address, &lines, &nlines));
            for (size_t j = 0; j < nlines; j++) {
                struct cu_pprof_function f;
                CHECK(cu_pprof_function_at(p, lines[j].function, &f));
                is_found |= strcmp(f.name, function) == 0;
            }
        }
        for (size_t l = 0; key && l < nlabels && l < 20; l++) {
            is_labelled |= strcmp(labels[l].key, key) == 0 && labels[l].str &&
                           strcmp(labels[l].str, value) == 0;
        }
        if (is_found && is_labelled) {
            return true;
        }
    }
    return false;
}

static pthread_t start(void *(*fn)(void *), void *arg)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, fn, arg) == 0);
    return thread;
}

static int count_threads(void)
{
    DIR *d = opendir("/proc/self/task");
    CHECK(d);
    int n = 0;
    while (readdir(d)) {
        n++;
    }
    closedir(d);
    return n - 2;
}

/* ---- cases ----------------------------------------------------------------------------------- */

struct client {
    pthread_t thread;
    double delay, seconds;
    int hz;
    int64_t period, got, process_ns, sampled_ns, duration; /* sampled_ns: by the kernel's clocks */
    char path[80];
};

static void *be_client(void *arg)
{
    struct client *c = arg;
    usleep((useconds_t)(c->delay * 1e6));
    int64_t before = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    struct cu_pprof *p = profile_for(c->seconds, c->hz, c->path);
    c->process_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - before;
    c->got = sum_of(p);
    for (size_t i = 0; i < cu_pprof_ncomments(p); i++) {
        double seconds;
        if (sscanf(cu_pprof_comment_at(p, i), "# cpu time: %lf s by the kernel", &seconds) == 1) {
            c->sampled_ns = (int64_t)(seconds * 1e9);
        }
    }
    int64_t at;
    cu_pprof_times(p, &at, &c->duration, &c->period);
    cu_pprof_free(p);
    return NULL;
}

/* Several at once: each gets its own window and its own period. */
static void clients(void)
{
    struct client c[] = {{.seconds = 2.5, .hz = 100},
                         {.delay = 0.5, .seconds = 0.7, .hz = 250},
                         {.delay = 0.8, .seconds = 1.5, .hz = 1000},
                         {.delay = 1.0, .seconds = 0.5, .hz = 7}};
    int n = sizeof c / sizeof *c;
    pthread_t burner = start(burn_until_over, NULL);
    for (int i = 0; i < n; i++) {
        snprintf(c[i].path, sizeof c[i].path, "%s.%d", file, i);
        c[i].thread = start(be_client, &c[i]);
    }
    for (int i = 0; i < n; i++) {
        pthread_join(c[i].thread, NULL);
    }
    is_over = true;
    pthread_join(burner, NULL);
    for (int i = 0; i < n; i++) {
        printf("%d Hz: %.3f s in a window of %.3f s, process %.3f s\n", c[i].hz,
               (double)c[i].got / 1e9, (double)c[i].duration / 1e9, (double)c[i].process_ns / 1e9);
        CHECK(c[i].period == 1000000000 / c[i].hz);
        CHECK(c[i].duration >= (int64_t)(c[i].seconds * 1e9));
        /* around the call other threads of the program run too, encoding their profiles */
        CHECK(c[i].got <= c[i].process_ns + c[i].period);
        CHECK(c[i].got + c[i].period >= c[i].sampled_ns / 2);
    }
}

static void *block_all_the_time(void *failures)
{
    atomic_int *eintr = failures;
    struct timespec nap = {0, 15000000};
    for (int i = 0; !is_over; i++) {
        int failed = i % 2 ? poll(NULL, 0, 15) : nanosleep(&nap, NULL);
        *eintr += failed != 0 && errno == EINTR;
    }
    return NULL;
}

/* Calls that wait see no EINTR, at the highest rate, on any of several threads. */
static void eintr(void)
{
    atomic_int failures = 0;
    pthread_t burners[2] = {start(burn_until_over, NULL), start(burn_until_over, NULL)};
    pthread_t waiters[4];
    for (int i = 0; i < 4; i++) {
        waiters[i] = start(block_all_the_time, &failures);
    }
    struct cu_pprof *p = profile_for(3, COPPER_CPU_HZ_MAX, file);
    is_over = true;
    CHECK(sum_of(p) > 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(waiters[i], NULL);
    }
    pthread_join(burners[0], NULL);
    pthread_join(burners[1], NULL);
    printf("%d calls failed with EINTR\n", failures);
    CHECK(failures == 0);
    cu_pprof_free(p);
}

/* A program with a handler of its own keeps it; we take another signal. */
static void foreign(void)
{
    signal(SIGPROF, note_foreign);
    pthread_t burner = start(burn_until_over, NULL);
    struct cu_pprof *p = profile_with_samples(0.5, 100);
    is_over = true;
    pthread_join(burner, NULL);
    CHECK(has_comment(p, "SIGPROF has a handler of the program"));
    CHECK(foreign_seen == 0);
    raise(SIGPROF);
    CHECK(foreign_seen == 1);
    cu_pprof_free(p);
}

/* Signals that are not ours go where they went before us: ignored or deadly. */
static void forward(void)
{
    cu_pprof_free(profile_for(0.1, 100, file));
    struct sigaction have;
    CHECK(sigaction(SIGPROF, NULL, &have) == 0);
    CHECK(have.sa_flags & SA_SIGINFO); /* our handler stays */
    CHECK((have.sa_flags & (SA_ONSTACK | SA_RESTART)) == (SA_ONSTACK | SA_RESTART));
    pid_t child = fork();
    if (child == 0) {
        raise(SIGPROF);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGPROF);
}

static void forward_ignored(void)
{
    signal(SIGPROF, SIG_IGN);
    pthread_t burner = start(burn_until_over, NULL);
    struct cu_pprof *p = profile_with_samples(0.3, 100);
    raise(SIGPROF);
    is_over = true;
    pthread_join(burner, NULL);
    cu_pprof_free(p);
}

static void *take_over_soon(void *unused)
{
    usleep(1000000);
    signal(SIGPROF, note_foreign);
    return unused;
}

/* A handler installed while we sample is left alone and told about; the next profile finds a way.
 */
static void takeover(void)
{
    pthread_t burner = start(burn_until_over, NULL);
    pthread_t thief = start(take_over_soon, NULL);
    struct cu_pprof *p = profile_for(2, 100, file);
    pthread_join(thief, NULL);
    CHECK(has_comment(p, "installed a handler of its own"));
    CHECK(sum_of(p) > 0);
    cu_pprof_free(p);
    int seen = foreign_seen;
    p = profile_with_samples(0.5, 100);
    is_over = true;
    pthread_join(burner, NULL);
    CHECK(!has_comment(p, "installed a handler of its own"));
    CHECK(foreign_seen == seen); /* no signal of ours reached it */
    cu_pprof_free(p);
}

__attribute__((noinline)) static void burn_on_signal_stack(int number)
{
    (void)number;
    burn(30000000);
    sink++;
}

#ifdef NDEBUG
#define HANDLERS_ROOM 3072
#else
#define HANDLERS_ROOM 32768 /* frames are larger */
#endif
#ifdef __SANITIZE_ADDRESS__
#define SMALLEST_STACK 16384 /* its calls take the room of the second signal's frame */
#else
#define SMALLEST_STACK 8192 /* what some runtimes give their threads */
#endif

/* Room for two signal frames as large as this processor's registers make them (two took 6.6 KiB of
 * a stack of 8 where this was written), and for what the sampler asks for on top. */
static size_t sufficient_stack(void)
{
    size_t n = 2 * (size_t)getauxval(AT_MINSIGSTKSZ) + HANDLERS_ROOM;
    return n > SMALLEST_STACK ? n : SMALLEST_STACK;
}

static void *burn_on_small_stacks(void *size)
{
    static _Thread_local char bytes[65536];
    stack_t stack = {.ss_sp = bytes, .ss_size = *(const size_t *)size}, old;
    CHECK(stack.ss_size <= sizeof bytes);
    CHECK(sigaltstack(&stack, &old) == 0);
    while (!is_over) {
        raise(SIGUSR1);
        burn(1000000);
    }
    CHECK(sigaltstack(&old, NULL) == 0);
    return NULL;
}

/* Signal stacks with a handler of the program on them are not overrun, however small, and sampled
 * where two signal frames and the sampler's fit. */
static void altstack(void)
{
    struct sigaction action = {.sa_handler = burn_on_signal_stack, .sa_flags = SA_ONSTACK};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    pthread_t threads[3];
    size_t sizes[3] = {SMALLEST_STACK, sufficient_stack(), sufficient_stack()};
    for (int i = 0; i < 3; i++) {
        threads[i] = start(burn_on_small_stacks, &sizes[i]);
    }
    struct cu_pprof *p = profile_for(1.5, 1000, file);
    is_over = true;
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    CHECK(has_sample(p, "burn_on_signal_stack", NULL, NULL));
    /* the walk goes through the signal frame to what was interrupted */
    CHECK(has_sample(p, "burn_on_small_stacks", NULL, NULL));
    CHECK(!has_sample(p, "burn_on_signal_stack", "stack", "cut"));
    cu_pprof_free(p);
}

/* A child forked from a program under profile is clean, and can be profiled itself. */
static void forked(void)
{
    pthread_t burner = start(burn_until_over, NULL);
    struct client c = {.seconds = 1.5, .hz = 250};
    snprintf(c.path, sizeof c.path, "%s.parent", file);
    c.thread = start(be_client, &c);
    usleep(300000);
    for (int i = 0; i < 5; i++) {
        pid_t child = fork();
        if (child == 0) {
            CHECK(count_threads() == 1);
            is_over = false;
            start(burn_until_over, NULL);
            snprintf(file, sizeof file, "/tmp/copper_cpu_cases.%d", (int)getpid());
            cu_pprof_free(profile_with_samples(0.3, 100));
            _exit(0);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    pthread_join(c.thread, NULL);
    is_over = true;
    pthread_join(burner, NULL);
    CHECK(c.got > 0);
}

static bool is_by_perf(const struct cu_pprof *p)
{
    return has_comment(p, "# source: perf events");
}

/* Closes all descriptors but the first three again and again, and opens others, which stay its own. */
static void *close_from_until_over(void *unused)
{
    struct stat null, have;
    CHECK(stat("/dev/null", &null) == 0);
    while (!is_over) {
        int fds[8];
        for (int i = 0; i < 8; i++) {
            fds[i] = open("/dev/null", O_RDWR);
            CHECK(fds[i] >= 0);
        }
        burn(100000);
        for (int i = 0; i < 8; i++) {
            CHECK(fstat(fds[i], &have) == 0 && have.st_rdev == null.st_rdev);
            CHECK(fcntl(fds[i], F_GETFD) == 0 && !(fcntl(fds[i], F_GETFL) & O_ASYNC));
            close(fds[i]);
        }
    }
    return unused;
}

static int perf_descriptors(void)
{
    int n = 0;
    char path[64], target[64];
    for (int fd = 0; fd < 256; fd++) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(path, target, sizeof target - 1);
        target[length > 0 ? length : 0] = '\0';
        n += strstr(target, "perf") != NULL;
    }
    return n;
}

/* Perf events neither take descriptors of the program nor mind what it does with them. */
static void perf_descriptors_none(void)
{
    pthread_t burners[2] = {start(burn_until_over, NULL), start(close_from_until_over, NULL)};
    struct client c = {.seconds = 1, .hz = 1000};
    snprintf(c.path, sizeof c.path, "%s.high", file);
    c.thread = start(be_client, &c);
    for (int i = 0; i < 20; i++) {
        CHECK(perf_descriptors() == 0);
        usleep(20000);
    }
    pthread_join(c.thread, NULL);
    CHECK(c.got > 0);
    /* the rate comes and goes */
    for (int i = 0; i < 3; i++) {
        cu_pprof_free(profile_for(0.05, i % 2 ? 100 : 2000, file));
    }
    is_over = true;
    pthread_join(burners[0], NULL);
    pthread_join(burners[1], NULL);
}

static void perf_closed_from(void)
{
    struct cu_cpu_profile *cpu;
    pthread_t burner = start(burn_until_over, NULL);
    CHECK(cu_profile_cpu_start(1000, &cpu) == 0);
    usleep(300000);
    /* the file of the profile is opened when all is over */
    CHECK(syscall(SYS_close_range, 3U, ~0U, 0U) == 0);
    usleep(700000);
    is_over = true;
    pthread_join(burner, NULL);
    CHECK(cu_profile_cpu_stop(cpu, cu_to_file(file)) == 0);
    struct cu_pprof *p = read_profile(file);
    CHECK(sum_of(p) > 0);
    cu_pprof_free(p);
}

/* A program that handles SIGURG keeps it, and the profile says what that means. */
static void perf_signal_taken(void)
{
    signal(SIGURG, note_foreign);
    pthread_t burner = start(burn_until_over, NULL);
    struct cu_pprof *p = profile_with_samples(0.5, 1000);
    is_over = true;
    pthread_join(burner, NULL);
    CHECK(has_comment(p, "all threads by timers") && has_comment(p, "SIGURG"));
    CHECK(!is_by_perf(p) && foreign_seen == 0);
    cu_pprof_free(p);
}

/* So it does where threads block it. */
static void perf_signal_blocked(void)
{
    sigset_t urgent;
    sigemptyset(&urgent);
    sigaddset(&urgent, SIGURG);
    pthread_sigmask(SIG_BLOCK, &urgent, NULL);
    pthread_t burner = start(burn_until_over, NULL);
    struct cu_pprof *p = profile_with_samples(1, 1000);
    is_over = true;
    pthread_join(burner, NULL);
    CHECK(!is_by_perf(p) && has_comment(p, "all threads by timers"));
    cu_pprof_free(p);
}

/* One that takes it in the middle gets none of our signals for long. */
static void perf_signal_taken_late(void)
{
    pthread_t burner = start(burn_until_over, NULL);
    struct client c = {.seconds = 1, .hz = 1000};
    snprintf(c.path, sizeof c.path, "%s.high", file);
    c.thread = start(be_client, &c);
    usleep(300000);
    signal(SIGURG, note_foreign);
    pthread_join(c.thread, NULL);
    int seen = foreign_seen;
    burn(200000000);
    CHECK(foreign_seen == seen);
    is_over = true;
    pthread_join(burner, NULL);
    CHECK(c.got > 0);
}

/* Whoever calls exec under the highest rate lives on, whatever arrived meanwhile. */
static void perf_exec(void)
{
    for (int i = 0; i < 4; i++) {
        pid_t child = fork();
        if (child == 0) {
            snprintf(file, sizeof file, "/tmp/copper_cpu_cases.%d", (int)getpid());
            struct client c = {.seconds = 60, .hz = COPPER_CPU_HZ_MAX};
            snprintf(c.path, sizeof c.path, "%s", file);
            c.thread = start(be_client, &c);
            burn(100000000);
            execlp("sh", "sh", "-c", "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done", NULL);
            _exit(1);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
}

/* Nothing runs before the first profile nor after the last. */
static void idle(void)
{
    struct sigaction have;
    CHECK(sigaction(SIGPROF, NULL, &have) == 0 && have.sa_handler == SIG_DFL);
    int before = count_threads(); /* a sanitizer may have one of its own */
    for (int i = 0; i < 3; i++) {
        cu_pprof_free(profile_for(0.1, 100, file));
    }
    for (int i = 0; i < 100 && count_threads() > before; i++) {
        usleep(20000);
    }
    CHECK(count_threads() <= before);
}

__attribute__((noinline)) static uint64_t recurse(int depth)
{
    if (depth == 0) {
        burn(200000000);
        return sink;
    }
    return recurse(depth - 1) + (sink & 1);
}

/* A stack deeper than any record is marked as cut; one that is not, is not. */
static void *recurse_deeply(void *unused)
{
    sink += recurse(3 * 512);
    return unused;
}

static void deep(void)
{
    pthread_t thread = start(recurse_deeply, NULL);
    struct cu_pprof *p = profile_with_samples(0.5, 250);
    pthread_join(thread, NULL);
    CHECK(has_sample(p, "burn", "stack", "cut"));
    CHECK(!has_sample(p, "recurse_deeply", "stack", "cut"));
    cu_pprof_free(p);
}

static void arguments(void)
{
    CHECK(cu_profile_cpu_file(NULL, 1, 0) == -EINVAL);
    CHECK(cu_profile_cpu_file(file, 0, 0) == -EINVAL);
    CHECK(cu_profile_cpu_file(file, -1, 0) == -EINVAL);
    CHECK(cu_profile_cpu_file(file, COPPER_SECONDS_MAX + 1, 0) == -EINVAL);
    CHECK(cu_profile_cpu_file(file, 0.1, -1) == -EINVAL);
    CHECK(cu_profile_cpu_file(file, 0.1, COPPER_CPU_HZ_MAX + 1) == -EINVAL);
    CHECK(cu_profile_cpu_file("/nonexistent/folder/x", 0.1, 0) == -ENOENT);
}

static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {
    {"clients", clients},
    {"eintr", eintr},
    {"foreign", foreign},
    {"forward", forward},
    {"ignored", forward_ignored},
    {"takeover", takeover},
    {"altstack", altstack},
    {"forked", forked},
    {"perf_descriptors", perf_descriptors_none},
    {"perf_closed_from", perf_closed_from},
    {"perf_signal_taken", perf_signal_taken},
    {"perf_signal_blocked", perf_signal_blocked},
    {"perf_signal_taken_late", perf_signal_taken_late},
    {"perf_exec", perf_exec},
    {"idle", idle},
    {"deep", deep},
    {"arguments", arguments},
};

int main(int argc, char **argv)
{
    snprintf(file, sizeof file, "/tmp/copper_cpu_cases.%d", (int)getpid());
    for (size_t i = 0; argc == 2 && i < sizeof cases / sizeof *cases; i++) {
        if (strcmp(argv[1], cases[i].name) == 0) {
            cases[i].run();
            return 0;
        }
    }
    fprintf(stderr, "cpu_cases CASE\n");
    return 2;
}
