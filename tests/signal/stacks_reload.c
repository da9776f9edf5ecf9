/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: two libraries that take turns at one address, while their functions are being sampled:
 * no sample may carry the other one's name.
 *
 *     stacks_reload ONE.so TWO.so SECONDS
 *
 * Worker threads close one library, open the other and spin in it; what runs is known from a
 * variable that only the library's own code sets. The handler walks, a collector thread prepares
 * tables, finishes missed walks off a copy and symbolizes, as the profiler does. A frame inside a
 * library's mapping that is named must bear the name of the library that ran.
 */
#include <copper/stacks.h>
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define FRAMES_MAX 64
#define COPY_BYTES 4096
#define RING       1024u
#define ADDRESSES  512

typedef int spin_fn(volatile int *who, unsigned rounds);

struct record {
    cu_frame frames[FRAMES_MAX];
    struct cu_walk walk;
    uint32_t epoch;
    int who; /* which library was running: 1, 2; 0: neither */
    uint64_t copy_at;
    size_t copy_n;
    char copy[COPY_BYTES];
};

static struct record ring[RING];
static _Atomic uint32_t written, taken;
static _Atomic bool is_over;
static volatile int who;
static uint64_t stack_hi;
static unsigned long samples, inside, named, wrong, unnamed_frames, reloads, dropped, same_address;

static void on_tick(int number, siginfo_t *info, void *context)
{
    (void)number, (void)info;
    uint32_t at = atomic_load(&written);
    if (at - atomic_load(&taken) == RING) {
        dropped++;
        return;
    }
    struct record *r = &ring[at % RING];
    r->epoch = cu_modules_epoch_sig();
    r->who = who;
    r->walk = (struct cu_walk){
        .hi = stack_hi, .frames = r->frames, .max = FRAMES_MAX, .context = context};
    cu_regs_from_context_sig(&r->walk.regs, context);
    r->walk.lo = r->walk.regs.sp;
    cu_stack_walk_sig(&r->walk);
    r->walk.context = NULL;
    r->copy_n = 0;
    if (r->walk.end == COPPER_WALK_MISS) {
        uint64_t n = stack_hi - r->walk.regs.sp;
        r->copy_at = r->walk.regs.sp;
        r->copy_n = n < COPY_BYTES ? n : COPY_BYTES;
        memcpy(r->copy, (const void *)(uintptr_t)r->copy_at, r->copy_n);
    }
    atomic_store(&written, at + 1);
}

/* The names are spin_one and helper_one in library 1, spin_two and helper_two in library 2. */
static int library_of(const char *name)
{
    if (strstr(name, "_one"))
        return 1;
    return strstr(name, "_two") ? 2 : 0;
}

static void look_at(struct cu_symbolizer *s, struct record *r)
{
    bool is_inside = false, is_named = false;
    if (r->walk.end == COPPER_WALK_MISS)
        cu_stack_walk_copy(&r->walk, r->copy, r->copy_at, r->copy_n, r->epoch);
    cu_frames_resolve(r->frames, r->walk.n, r->epoch);
    samples++;
    for (unsigned i = 0; i < r->walk.n; i++) {
        struct cu_symbol symbol;
        cu_symbolize(s, r->frames[i], &symbol);
        const struct cu_module *m = cu_module_by_id(COPPER_FRAME_MODULE(r->frames[i]));
        int library = symbol.is_named ? library_of(symbol.lines[symbol.nlines - 1].function) : 0;
        int file = m ? library_of(m->path) : 0;
        unnamed_frames += !symbol.is_named;
        is_named |= library != 0;
        is_inside |= r->who != 0;
        if (r->who != 0 && ((library && library != r->who) || (file && file != r->who))) {
            if (wrong++ < 5)
                fprintf(stderr, "library %d ran, the sample says %s in %s\n", r->who,
                        symbol.lines[symbol.nlines - 1].function, m ? m->path : "nothing");
        }
    }
    inside += is_inside;
    named += is_inside && is_named;
}

static void *collect(void *unused)
{
    (void)unused;
    struct cu_symbolizer *s = cu_symbolizer_open();
    for (bool is_last = false; !is_last;) {
        is_last = atomic_load(&is_over);
        cu_stacks_prepare();
        while (atomic_load(&taken) != atomic_load(&written)) {
            look_at(s, &ring[atomic_load(&taken) % RING]);
            atomic_fetch_add(&taken, 1);
        }
        usleep(2000);
    }
    cu_symbolizer_close(s);
    return NULL;
}

static int close_library(void *library)
{
    cu_modules_closing_sig();
    int err = dlclose(library);
    cu_modules_closed_sig();
    return err;
}

static bool run_one(const char *path, unsigned rounds)
{
    static void *last;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    spin_fn *spin = library ? *(spin_fn **)&(void *){dlsym(library, "spin")} : NULL;
    if (!spin) {
        fprintf(stderr, "%s: %s\n", path, dlerror());
        return false;
    }
    same_address += (void *)(uintptr_t)spin == last;
    last = (void *)(uintptr_t)spin;
    spin(&who, rounds);
    reloads++;
    return close_library(library) == 0;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void *alternate(void *arg)
{
    char **argv = arg;
    double end = now() + atof(argv[3]);
    stack_hi = (uint64_t)(uintptr_t)__builtin_frame_address(0) + 64;
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGPROF};
    event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    timer_t timer;
    struct itimerspec often = {{0, 251000}, {0, 251000}};
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0)
        return NULL;
    timer_settime(timer, 0, &often, NULL);
    srand(1);
    while (now() < end)
        for (int i = 1; i <= 2; i++)
            if (!run_one(argv[i], (unsigned)rand() % 200000))
                exit(1);
    timer_delete(timer);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t worker, collector;
    struct sigaction action = {.sa_sigaction = on_tick, .sa_flags = SA_SIGINFO | SA_RESTART};
    if (argc != 4) {
        fprintf(stderr, "stacks_reload ONE.so TWO.so SECONDS\n");
        return 2;
    }
    sigaction(SIGPROF, &action, NULL);
    if (cu_stacks_prepare() != 0 || pthread_create(&worker, NULL, alternate, argv) != 0 ||
        pthread_create(&collector, NULL, collect, NULL) != 0)
        return 2;
    pthread_join(worker, NULL);
    atomic_store(&is_over, true);
    pthread_join(collector, NULL);
    printf("%lu loads, %lu at the address of the one before; %lu samples, %lu inside a library, of "
           "these %lu named; %lu frames without a name; %lu dropped; %lu wrong\n",
           reloads, same_address, samples, inside, named, unnamed_frames, dropped, wrong);
    if (wrong || samples < 50 || inside < 20 || same_address * 2 < reloads || named * 2 < inside) {
        fprintf(stderr,
                wrong ? "a sample carries a wrong name\n" : "the test did not test enough\n");
        return 1;
    }
    return 0;
}
