/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the handler's walker against libunwind, on the same registers at the same instant.
 *
 *     stacks_judge step            at every single instruction of a set of functions (trap flag)
 *     stacks_judge random SECONDS  at random instants of the same functions in several threads
 *
 * A difference in any frame of any stack is a failure, and so is a stack that does not reach the
 * thread's root. The set: prologues and epilogues of optimised C, realigned and variable frames,
 * libc internals with callbacks, first calls through lazily bound PLT stubs, C++ exceptions in
 * flight, signal handlers on the same and on an alternate stack, the vdso, vfork.
 */
#define UNW_LOCAL_ONLY
#include "stacks_judge.h"

#include <copper/stacks.h>
#include <errno.h>
#include <libunwind.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>

#define FRAMES_MAX     200
#define FAILURES_SHOWN 3
#define ALT_BYTES      (256u << 10)
#define TRAP_FLAG      0x100
#define STEPS_MAX      3000000ul
#define THREADS        3

struct stacks {
    uint64_t lo, hi;         /* the thread's own */
    uint64_t alt_lo, alt_hi; /* where the workload's handler runs */
    uint64_t root;           /* pc of the outermost frame */
};

static __thread struct stacks here;
static __thread bool is_busy; /* the judge itself must not be judged */
static _Atomic uint64_t judged, differences, neither, only_ours, finished_by_copy, total_frames;
static _Atomic uint64_t installing;

/* ---- the two walks --------------------------------------------------------------------------- */

static void bounds_for(uint64_t sp, struct cu_walk *w)
{
    bool is_alt = sp >= here.alt_lo && sp < here.alt_hi;
    w->lo = is_alt ? sp : here.lo;
    w->hi = is_alt ? here.alt_hi : here.hi;
}

static void walk_ours(const ucontext_t *uc, struct cu_walk *w)
{
    cu_regs_from_context_sig(&w->regs, uc);
    bounds_for(w->regs.sp, w);
    cu_stack_walk_sig(w);
    /* from the alternate stack to the one that was interrupted */
    if (w->end == COPPER_WALK_BOUNDS && w->regs.sp >= here.lo && w->regs.sp < here.hi &&
        w->hi != here.hi) {
        bounds_for(w->regs.sp, w);
        w->n--;
        cu_stack_walk_sig(w);
    }
    if (w->end == COPPER_WALK_MISS) {
        atomic_fetch_add(&finished_by_copy, 1);
        cu_stack_walk_copy(w, (const void *)(uintptr_t)w->lo, w->lo, w->hi - w->lo,
                           cu_modules_epoch_sig());
    }
}

/* Frames in our form: return addresses - 1, interrupted pcs and trampolines as they are. */
static unsigned walk_theirs(ucontext_t *uc, uint64_t *out)
{
    unw_cursor_t cursor;
    unsigned n = 0;
    if (unw_init_local2(&cursor, (unw_context_t *)uc, UNW_INIT_SIGNAL_FRAME) != 0)
        return 0;
    do {
        unw_word_t ip;
        if (unw_get_reg(&cursor, UNW_REG_IP, &ip) != 0 || ip == 0)
            break;
        /* true for a frame that a signal interrupted; the one before is the trampoline */
        bool is_interrupted = n > 0 && unw_is_signal_frame(&cursor) > 0;
        out[n] = n == 0 || is_interrupted ? ip : ip - 1;
        if (is_interrupted && n > 1)
            out[n - 1]++;
        n++;
    } while (n < FRAMES_MAX && unw_step(&cursor) > 0);
    return n;
}

static void show(const struct cu_walk *w, const uint64_t *theirs, unsigned n)
{
    cu_frame frames[FRAMES_MAX];
    static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&one_at_a_time);
    fprintf(stderr, "ours, end %d:\n", w->end);
    cu_stack_print(2, w->frames, w->n);
    for (unsigned i = 0; i < n; i++) {
        const struct cu_module *m = cu_module_at(theirs[i]);
        frames[i] = theirs[i] | (uint64_t)(m ? m->id : 0) << 48;
    }
    fprintf(stderr, "libunwind:\n");
    cu_stack_print(2, frames, n);
    for (unsigned i = 0; i < n || i < w->n; i++)
        fprintf(stderr, "  %llx %llx\n", i < w->n ? (long long)COPPER_FRAME_PC(w->frames[i]) : 0,
                i < n ? (long long)theirs[i] : 0);
    pthread_mutex_unlock(&one_at_a_time);
}

/* Ends where this thread's stacks end, and goes through known code only. */
static bool is_real(const struct cu_walk *w)
{
    for (unsigned i = 0; i < w->n; i++)
        if (COPPER_FRAME_MODULE(w->frames[i]) == 0)
            return false;
    return w->n > 0 && COPPER_FRAME_PC(w->frames[w->n - 1]) == here.root;
}

/* A return address that is in a register is where an exception handler begins, or where vfork's
 * caller goes on: exact for us. libunwind takes 1 off as after a call, and so looks before it. */
static bool is_same_frame(const ucontext_t *uc, unsigned i, uint64_t ours, uint64_t theirs)
{
    const greg_t *r = uc->uc_mcontext.gregs;
    bool is_in_register = ours == (uint64_t)r[REG_RCX] || ours == (uint64_t)r[REG_RDI];
    return ours == theirs || (i == 1 && is_in_register && ours == theirs + 1);
}

/* The last act of a throw: libgcc copies the registers of the frame with the handler over those
 * that _Unwind_RaiseException saved in its own frame, and that frame's unwind information is wrong
 * from the first copy to the jump. How many ticks fall there is up to the processor: each of the
 * copies is a `rep movsq` of 8 bytes at most, which costs some ten times as much on some. */
static bool is_installing_handler(uint64_t leaf)
{
    const struct cu_module *m = cu_module_at(leaf);
    return m && m == cu_module_at((uint64_t)(uintptr_t)_Unwind_RaiseException);
}

static void judge(ucontext_t *uc)
{
    cu_frame frames[FRAMES_MAX];
    uint64_t theirs[FRAMES_MAX];
    struct cu_walk w = {.frames = frames, .max = FRAMES_MAX, .context = uc};
    walk_ours(uc, &w);
    unsigned n = walk_theirs(uc, theirs);
    bool is_equal = n == w.n;
    for (unsigned i = 0; is_equal && i < n; i++)
        is_equal = is_same_frame(uc, i, COPPER_FRAME_PC(frames[i]), theirs[i]);
    atomic_fetch_add(&judged, 1);
    atomic_fetch_add(&total_frames, w.n);
    /* where even libunwind does not come to the root, or only by guessing its way over an address
     * that is no code, the unwind information is wrong: glibc's and libgcc's assembly have a few
     * such instructions. We may not claim to be there either. */
    bool is_theirs_complete = n > 0 && theirs[n - 1] == here.root;
    for (unsigned i = 0; is_theirs_complete && i < n; i++)
        is_theirs_complete = cu_module_at(theirs[i]) != NULL;
    bool is_ours_complete = w.end == COPPER_WALK_ROOT;
    if (is_theirs_complete ? is_ours_complete && is_equal : !is_ours_complete) {
        if (!is_theirs_complete)
            atomic_fetch_add(is_installing_handler(theirs[0]) ? &installing : &neither, 1);
        return;
    }
    if (!is_theirs_complete && is_real(&w)) {
        atomic_fetch_add(&only_ours, 1);
        return;
    }
    if (atomic_fetch_add(&differences, 1) < FAILURES_SHOWN)
        show(&w, theirs, n);
}

static void on_tick(int number, siginfo_t *info, void *context)
{
    int saved = errno;
    (void)number, (void)info;
    if (!is_busy && here.hi) {
        is_busy = true;
        judge(context);
        is_busy = false;
    }
    errno = saved;
}

/* ---- stepping -------------------------------------------------------------------------------- */

static bool is_stepping;

static void trap_on(void)
{
    if (is_stepping)
        __asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq" ::: "memory", "cc");
}

static void trap_off(void)
{
    if (is_stepping)
        __asm__ volatile("pushfq; andq $~0x100, (%%rsp); popfq" ::: "memory", "cc");
}

static void on_step(int number, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    on_tick(number, info, context);
    if (atomic_load(&judged) > STEPS_MAX)
        uc->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
}

/* ---- the functions --------------------------------------------------------------------------- */

static volatile long sink;

static __attribute__((noinline)) long many_registers(long a, long b, long c, long d, long e, long f)
{
    long g = a * b, h = c * d, i = e * f, j = a + c, k = b + d, l = c ^ e;
    for (int n = 0; n < 3; n++) {
        sink += g + h + i;
        g ^= j, h += k, i -= l, j = sink, k += g, l ^= h;
    }
    return g + h + i + j + k + l;
}

static __attribute__((noinline)) long variable_frame(unsigned n)
{
    volatile char bytes[n];
    for (unsigned i = 0; i < n; i++)
        bytes[i] = (char)i;
    return bytes[n - 1] + many_registers(1, 2, 3, 4, 5, n);
}

static __attribute__((noinline)) long huge_frame(void)
{
    volatile char bytes[60000];
    bytes[0] = 1;
    bytes[59999] = 2;
    return bytes[0] + variable_frame(17);
}

static __attribute__((noinline)) long recursive(int n)
{
    if (n == 0)
        return huge_frame();
    long r = recursive(n - 1) + many_registers(n, 1, 2, 3, 4, 5);
    return r + sink;
}

static __attribute__((noinline)) long tail(long n)
{
    return many_registers(n, n, n, n, n, n);
}

static int compare(const void *a, const void *b)
{
    sink += tail(1);
    return *(const int *)a - *(const int *)b;
}

static void libc_work(void)
{
    int v[24];
    char text[256];
    for (int i = 0; i < 24; i++)
        v[i] = (i * 7919) % 101;
    qsort(v, 24, sizeof *v, compare);
    int found = 5;
    bsearch(&found, v, 24, sizeof *v, compare);
    snprintf(text, sizeof text, "%f %g %s %.*a %lld", 3.14159, 1e300, "text", 5, 0.1, 1ll << 62);
    char *copy = strdup(text);
    sink += strtol(strrchr(copy, ' '), NULL, 10);
    copy = realloc(copy, 100000);
    memset(copy, 1, 100000);
    free(copy);
    struct tm tm;
    time_t now = 0;
    gmtime_r(&now, &tm);
    strftime(text, sizeof text, "%Y %B %d", &tm);
}

static void vdso_work(void)
{
    struct timespec t;
    struct timeval v;
    clock_gettime(CLOCK_MONOTONIC, &t);
    clock_gettime(CLOCK_REALTIME_COARSE, &t);
    gettimeofday(&v, NULL);
    sink += t.tv_nsec + v.tv_usec + time(NULL);
}

static void on_user(int number)
{
    trap_on();
    sink += many_registers(number, 1, 2, 3, 4, 5);
    if (number == SIGUSR1)
        raise(SIGUSR2); /* a signal inside a signal */
    vdso_work();
    trap_off();
}

static void signal_work(void)
{
    raise(SIGUSR1);
    raise(SIGHUP); /* on the alternate stack */
}

static void vfork_work(void)
{
    pid_t child = vfork();
    if (child == 0)
        _exit(0);
    sink += child;
}

/* Its frame is described by an expression that only libunwind evaluates: rsp + N, then + 8. */
__asm__(".text\n"
        ".type exotic_frame, @function\n"
        "exotic_frame:\n"
        "    .cfi_startproc\n"
        "    .cfi_escape 0x0f, 4, 0x77, 0, 0x38, 0x22\n"
        "    sub $8, %rsp\n"
        "    .cfi_escape 0x0f, 4, 0x77, 8, 0x38, 0x22\n"
        "    call *%rdi\n"
        "    add $8, %rsp\n"
        "    .cfi_escape 0x0f, 4, 0x77, 0, 0x38, 0x22\n"
        "    ret\n"
        "    .cfi_endproc\n"
        ".size exotic_frame, . - exotic_frame\n");
void exotic_frame(void (*f)(void));

static __attribute__((noinline)) void below_exotic_frame(void)
{
    sink += many_registers(1, 2, 3, 4, 5, 6);
}

static void everything(void)
{
    exotic_frame(below_exotic_frame);
    recursive(6);
    judge_realigned(&sink);
    libc_work();
    judge_lazy_calls();
    vdso_work();
    judge_exceptions(3);
    signal_work();
}

/* ---- runs ------------------------------------------------------------------------------------ */

static bool begin_thread(void)
{
    pthread_attr_t attributes;
    void *lo;
    size_t n;
    stack_t alt = {.ss_sp = malloc(ALT_BYTES), .ss_size = ALT_BYTES};
    if (!alt.ss_sp || sigaltstack(&alt, NULL) != 0 ||
        pthread_getattr_np(pthread_self(), &attributes) != 0)
        return false;
    pthread_attr_getstack(&attributes, &lo, &n);
    pthread_attr_destroy(&attributes);
    here = (struct stacks){(uint64_t)(uintptr_t)lo, (uint64_t)(uintptr_t)lo + n,
                           (uint64_t)(uintptr_t)alt.ss_sp,
                           (uint64_t)(uintptr_t)alt.ss_sp + ALT_BYTES, 0};
    ucontext_t uc;
    uint64_t frames[FRAMES_MAX];
    getcontext(&uc);
    unsigned count = walk_theirs(&uc, frames);
    here.root = count ? frames[count - 1] : 0;
    return count > 1;
}

static void handle(int number, void (*f)(int, siginfo_t *, void *), void (*g)(int), int flags)
{
    struct sigaction action = {.sa_flags = flags};
    if (f) {
        action.sa_sigaction = f;
        action.sa_flags |= SA_SIGINFO;
    } else {
        action.sa_handler = g;
    }
    sigfillset(&action.sa_mask);
    sigdelset(&action.sa_mask, SIGTRAP);
    if (g) { /* the workload's own handlers can be interrupted */
        sigemptyset(&action.sa_mask);
    }
    sigaction(number, &action, NULL);
}

static void *step_in_thread(void *unused)
{
    (void)unused;
    if (!begin_thread())
        abort();
    trap_on();
    everything();
    trap_off();
    return NULL;
}

static void step(void)
{
    pthread_t thread;
    is_stepping = true;
    handle(SIGTRAP, on_step, NULL, 0);
    trap_on();
    everything(); /* the first time goes through the resolver of lazily bound calls */
    vfork_work();
    trap_off();
    if (pthread_create(&thread, NULL, step_in_thread, NULL) == 0)
        pthread_join(thread, NULL);
    handle(SIGTRAP, NULL, SIG_DFL, 0);
}

static _Atomic bool is_over;

static void *work_in_thread(void *unused)
{
    (void)unused;
    if (!begin_thread())
        abort();
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGPROF};
    event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    timer_t timer;
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0)
        abort();
    struct itimerspec often = {{0, 313000}, {0, 313000}};
    timer_settime(timer, 0, &often, NULL);
    while (!atomic_load(&is_over))
        everything();
    timer_delete(timer);
    return NULL;
}

static void at_random(double seconds)
{
    pthread_t threads[THREADS];
    handle(SIGPROF, on_tick, NULL, SA_RESTART);
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, work_in_thread, NULL) != 0)
            abort();
    usleep((useconds_t)(seconds * 1e6));
    atomic_store(&is_over, true);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

int main(int argc, char **argv)
{
    bool is_step = argc == 2 && strcmp(argv[1], "step") == 0;
    if (!is_step && (argc != 3 || strcmp(argv[1], "random") != 0)) {
        fprintf(stderr, "stacks_judge step | stacks_judge random SECONDS\n");
        return 2;
    }
    /* its cache takes a return address and an interrupted instruction at the same address for one
     */
    unw_set_caching_policy(unw_local_addr_space, UNW_CACHE_NONE);
    if (!begin_thread() || cu_stacks_prepare() != 0)
        return 2;
    handle(SIGUSR1, NULL, on_user, 0);
    handle(SIGUSR2, NULL, on_user, 0);
    handle(SIGHUP, NULL, on_user, SA_ONSTACK);
    if (is_step)
        step();
    else
        at_random(atof(argv[2]));
    struct cu_stacks_stats stats;
    cu_stacks_stats_read(&stats);
    printf(
        "%llu stacks judged, %llu frames: %llu differ from libunwind's; %llu (%.3f %%) have wrong "
        "unwind information, and %llu while a throw installs its handler, %llu only we could "
        "finish, %llu were finished off a copy "
        "with %llu steps of libunwind\n",
        (unsigned long long)judged, (unsigned long long)total_frames,
        (unsigned long long)differences, (unsigned long long)neither,
        100.0 * (double)neither / (double)(judged ? judged : 1), (unsigned long long)installing,
        (unsigned long long)only_ours, (unsigned long long)finished_by_copy,
        (unsigned long long)stats.libunwind_steps);
    if (is_step && stats.libunwind_steps == 0) {
        fprintf(stderr, "nothing was left to libunwind\n");
        return 1;
    }
    if (judged < (is_step ? 20000u : 100u)) {
        fprintf(stderr, "too few stacks were judged\n");
        return 1;
    }
    return differences || neither * 100 > judged || installing * 10 > judged ||
                   only_ours * 1000 > judged
               ? 1
               : 0;
}
