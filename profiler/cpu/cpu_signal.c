/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the handler of the profiling signal, and nothing else. cpu_install.c installs it.
 *
 * Design. A sample in five steps: whose slot is it (the timer's cookie says so), what does it weigh,
 * on which stack was the thread, walk it, publish the record. Where the walk has no table for a
 * module yet, or nobody knows the stack's bounds, the top of the stack is copied by the kernel
 * (process_vm_readv on ourselves: it returns short where memory ends, it does not fault), and the
 * collector walks the copy.
 *
 * Invariants. A slot's ring has one writer: the handler marks the slot busy by an exchange and turns
 * away when it was, so even a signal that was queued for an earlier owner of the slot does no harm.
 *
 * Signal safety. Every function that ends in _sig runs in the handler. They call each other, the
 * walker, cu_inspect_here, clock_gettime (vdso) and raw system calls: no lock, no allocation, nothing
 * that may fault. errno is kept. The frame of each is small (the build checks): signal stacks of a
 * few KiB exist, and most of them is taken by the kernel.
 */
#include "cpu_int.h"
#include "machine.h"
#include "xorshift.h"

#include <copper/inspect.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define COPPER_STACK_SWITCHES_MAX 3 /* signal stack, coroutine, thread: a walk crosses no more */
#define COPPER_COPY_PIECES        5 /* see copy_stack_sig */
#define COPPER_RED_ZONE           128 /* bytes below sp that are still the function's, by the ABI */

/* There when the process has the coroutine runtime. */
extern __typeof__(cu_inspect_here) cu_inspect_here __attribute__((weak));

static _Atomic uint32_t probes;
static pid_t process; /* getpid() when sampling last started */

static int64_t now_sig(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000 + t.tv_nsec;
}

static void add_sig(_Atomic uint64_t *count, uint64_t n)
{
    /* the handler is the only writer, so no read-modify-write is needed */
    atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

/* From tick by tick to the thread's clock: see cpu_int.h. */
static void use_clock_sig(struct cu__slot *slot)
{
    uint64_t period = atomic_load_explicit(&slot->period_ns, memory_order_relaxed);
    uint64_t first = 1 + cu__xorshift(&slot->random) % period;
    struct itimerspec spec = {
        .it_value = {(time_t)(first / 1000000000), (long)(first % 1000000000)},
        .it_interval = {(time_t)(period / 1000000000), (long)(period % 1000000000)},
    };
    syscall(SYS_timer_settime, slot->timer, 0, &spec, NULL);
}

static uint64_t thread_cpu_sig(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

struct weight {
    uint64_t ns, span_ns;
    enum cu__record_weight kind;
};

/* Whether the thread was interrupted in a system call: just behind the instruction, or on it where the
 * call is to be done again. The kernel reads it: code need not be readable. */
static bool is_in_syscall_sig(const ucontext_t *context)
{
    unsigned char code[2 * COPPER_SYSCALL_BYTES];
    uint64_t pc = cu__context_pc_sig(context);
    struct iovec local = {code, sizeof code};
    struct iovec remote = {(void *)(uintptr_t)(pc - COPPER_SYSCALL_BYTES), sizeof code};
    long n = syscall(SYS_process_vm_readv, process, &local, 1UL, &remote, 1UL, 0UL);
    return (n >= COPPER_SYSCALL_BYTES && cu__is_syscall_sig(code)) ||
           (n == sizeof code && cu__is_syscall_sig(code + COPPER_SYSCALL_BYTES));
}

/* A tick of a thread that has a perf event. */
static void weigh_user_tick_sig(struct weight *weight, struct cu__slot *slot,
                                const ucontext_t *context, uint64_t period)
{
    uint64_t cpu = thread_cpu_sig();
    uint64_t from = atomic_load_explicit(&slot->perf_from_ns, memory_order_relaxed);
    from = slot->cpu_ns > from ? slot->cpu_ns : from;
    uint64_t span = cpu > from ? cpu - from : 0;
    slot->cpu_ns = cpu;
    *weight = is_in_syscall_sig(context) ? (struct weight){span, 0, COPPER_WEIGHT_CLOCK}
                                         : (struct weight){period, span, COPPER_WEIGHT_USER};
}

static void weigh_tick_sig(struct weight *weight, struct cu__slot *slot, uint32_t ticks_left)
{
    uint64_t tick = atomic_load_explicit(&cu__tick_ns, memory_order_relaxed);
    uint64_t cpu = thread_cpu_sig();
    *weight = (struct weight){tick, slot->cpu_ns ? cpu - slot->cpu_ns : 0,
                              COPPER_WEIGHT_TICK};
    slot->cpu_ns = cpu;
    if (weight->span_ns > COPPER_SPAN_TICKS_MAX * tick) {
        *weight = (struct weight){weight->span_ns, 0, COPPER_WEIGHT_CLOCK};
    }
    atomic_store_explicit(&slot->ticks_left, ticks_left - 1, memory_order_relaxed);
    if (ticks_left == 1) {
        use_clock_sig(slot);
    }
}

/* overrun: of a timer, below 0: the signal is a perf event's. */
static void weigh_sig(struct weight *weight, struct cu__slot *slot, int overrun,
                      const ucontext_t *context)
{
    /* pairs with the release in cpu_perf.c */
    uint64_t perf = atomic_load_explicit(&slot->perf_period_ns, memory_order_acquire);
    if (overrun < 0) {
        *weight = (struct weight){perf, 0, COPPER_WEIGHT_USER};
        return;
    }
    if (perf > 0) {
        weigh_user_tick_sig(weight, slot, context, perf);
        return;
    }
    uint32_t ticks_left = atomic_load_explicit(&slot->ticks_left, memory_order_relaxed);
    if (ticks_left > 0) {
        weigh_tick_sig(weight, slot, ticks_left);
        return;
    }
    uint64_t expiries = 1 + (uint64_t)overrun;
    uint64_t period = atomic_load_explicit(&slot->period_ns, memory_order_relaxed);
    *weight = (struct weight){expiries * period, 0, COPPER_WEIGHT_CLOCK};
}

struct place {
    struct cu__slot *slot;
    const struct cu_here *here;
    const ucontext_t *context;     /* what was interrupted */
    uint64_t signal_lo, signal_hi; /* the thread's alternate signal stack; 0, 0: none */
};

struct bounds {
    uint64_t lo, hi; /* 0, 0: not a stack we know */
};

/* The stack that sp is on. */
static struct bounds stack_of_sig(const struct place *place, uint64_t sp)
{
    if (sp >= place->here->stack_lo && sp < place->here->stack_hi) {
        return (struct bounds){place->here->stack_lo, place->here->stack_hi};
    }
    if (sp >= place->signal_lo && sp < place->signal_hi) {
        return (struct bounds){place->signal_lo, place->signal_hi};
    }
    /* pairs with the release in threads.c */
    uint64_t hi = atomic_load_explicit(&place->slot->stack_hi, memory_order_acquire);
    uint64_t lo = atomic_load_explicit(&place->slot->stack_lo, memory_order_relaxed);
    return sp >= lo && sp < hi ? (struct bounds){lo, hi} : (struct bounds){0, 0};
}

/* From where interrupted code's stack may be read: its red zone too, which the kernel leaves alone.
 * An epilogue's unwind rows find registers there that were just popped. */
static uint64_t readable_from_sig(struct bounds stack, uint64_t sp)
{
    uint64_t from = sp - stack.lo >= COPPER_RED_ZONE ? sp - COPPER_RED_ZONE : sp;
    return from & ~UINT64_C(7);
}

/* Copies up to n bytes of stack from `from`. In pieces of growing size, the first to the end of a
 * page: where memory ends inside one, those before it still arrive. Bytes copied. */
static uint32_t copy_stack_sig(void *to, uint64_t from, size_t n)
{
    struct iovec pieces[COPPER_COPY_PIECES];
    struct iovec local = {to, n};
    size_t used = 0, next = 4096 - (from & 4095);
    unsigned count = 0;
    for (; count < COPPER_COPY_PIECES && used < n; count++) {
        bool is_last = count == COPPER_COPY_PIECES - 1;
        size_t bytes = is_last || next > n - used ? n - used : next;
        pieces[count].iov_base = (void *)(uintptr_t)(from + used);
        pieces[count].iov_len = bytes;
        used += bytes;
        next = count == 0 ? 4096 : 2 * next;
    }
    long copied = syscall(SYS_process_vm_readv, process, &local, 1UL, pieces, (unsigned long)count,
                          0UL);
    return copied > 0 ? (uint32_t)copied & ~7u : 0;
}

/* Walks from *regs as far as tables and bounds go; the record gets frames, end and where it ended. */
static void walk_sig(struct cu__record *record, const struct place *place)
{
    struct cu_walk walk = {.regs = record->regs, .context = place->context,
                           .frames = record->frames, .max = COPPER_STACK_DEPTH_MAX,
                           .end = COPPER_WALK_BOUNDS};
    for (int i = 0; i < COPPER_STACK_SWITCHES_MAX; i++) {
        struct bounds stack = stack_of_sig(place, walk.regs.sp);
        bool is_known = stack.hi != 0;
        walk.lo = is_known ? readable_from_sig(stack, walk.regs.sp) : walk.regs.sp & ~UINT64_C(7);
        walk.hi = is_known ? stack.hi : walk.lo;
        cu_stack_walk_sig(&walk);
        if (!is_known && walk.end == COPPER_WALK_BOUNDS) {
            /* not a stack we know: nobody vouches for its bytes, the collector walks a copy */
            walk.end = COPPER_WALK_MISS;
            break;
        }
        bool is_within = walk.regs.sp >= walk.lo && walk.regs.sp < walk.hi;
        if (walk.end != COPPER_WALK_BOUNDS || walk.n == 0 || is_within) {
            break;
        }
        walk.n--; /* a signal frame led to another stack: the walk goes on there from this frame */
        walk.context = NULL; /* it described the first frame */
    }
    record->regs = walk.regs;
    record->nframes = walk.n;
    record->end = (uint8_t)walk.end;
    record->is_call_site = walk.is_call_site;
}

static void copy_rest_sig(struct cu__record *record, const struct place *place, size_t room)
{
    uint64_t from = record->regs.sp & ~UINT64_C(7);
    uint64_t end = stack_of_sig(place, from).hi;
    uint64_t pointer = atomic_load_explicit(&place->slot->thread_pointer, memory_order_relaxed);
    size_t n = room < COPPER_COPY_MAX ? room : COPPER_COPY_MAX;
    if (end == 0 && pointer > from) {
        end = pointer; /* a thread's own stack ends there; another stack below it, earlier */
    }
    if (end != 0 && end - from < n) {
        n = end - from;
    }
    record->copy_at = from;
    record->ncopy = copy_stack_sig(record->frames + record->nframes, from, n & ~(size_t)7);
}

static void describe_sig(struct cu__record *record, const struct cu_here *here)
{
    record->kind = COPPER_RECORD_SAMPLE;
    record->here = (uint8_t)here->kind;
    record->coroutine = here->id;
    record->labels = here->labels;
    record->epoch = cu_modules_epoch_sig();
    record->ncopy = 0;
    record->copy_at = 0;
    record->thread_name[0] = '\0';
    if (here->kind == COPPER_HERE_THREAD) {
        syscall(SYS_prctl, PR_GET_NAME, record->thread_name, 0UL, 0UL, 0UL);
    }
}

static bool has_room_sig(const struct place *place)
{
    uint64_t sp = (uint64_t)(uintptr_t)__builtin_frame_address(0);
    bool is_on_signal_stack = sp >= place->signal_lo && sp < place->signal_hi;
    return !is_on_signal_stack || sp - place->signal_lo >= COPPER_SIGNAL_ROOM;
}

static void record_sig(struct cu__slot *slot, int overrun, const ucontext_t *context)
{
    int64_t began = now_sig();
    struct weight weight;
    weigh_sig(&weight, slot, overrun, context);
    struct cu_here here = {.kind = COPPER_HERE_THREAD};
    if (cu_inspect_here) {
        cu_inspect_here(&here);
    }
    struct place place = {.slot = slot, .here = &here, .context = context};
    if (!(context->uc_stack.ss_flags & SS_DISABLE)) {
        place.signal_lo = (uint64_t)(uintptr_t)context->uc_stack.ss_sp;
        place.signal_hi = place.signal_lo + context->uc_stack.ss_size;
    }
    if (atomic_load_explicit(&slot->thread_pointer, memory_order_relaxed) == 0) {
        atomic_store_explicit(&slot->thread_pointer, cu__thread_pointer_sig(),
                              memory_order_relaxed);
    }
    size_t room;
    size_t head = sizeof(struct cu__record) + COPPER_STACK_DEPTH_MAX * sizeof(cu_frame);
    struct cu__record *record =
        has_room_sig(&place) ? cu__ring_reserve_sig(&slot->ring, head, &room) : NULL;
    if (!record) {
        add_sig(&slot->counts.dropped, 1);
        bool is_user = weight.kind == COPPER_WEIGHT_USER; /* others get its part, but not its span */
        add_sig(&slot->counts.dropped_ns, is_user ? weight.span_ns : weight.ns);
        return;
    }
    describe_sig(record, &here);
    record->tid = atomic_load_explicit(&slot->tid, memory_order_relaxed);
    record->time_ns = (uint64_t)began;
    record->weight_ns = weight.ns;
    record->span_ns = weight.span_ns;
    record->weight = (uint8_t)weight.kind;
    cu_regs_from_context_sig(&record->regs, context);
    walk_sig(record, &place);
    size_t size = sizeof *record + record->nframes * sizeof(cu_frame);
    if (record->end == COPPER_WALK_MISS) {
        copy_rest_sig(record, &place, room - size);
    }
    record->size = (uint32_t)size + record->ncopy;
    cu__ring_commit_sig(&slot->ring, record);
    add_sig(&slot->counts.delivered, 1);
    int64_t took = now_sig() - began;
    add_sig(&slot->counts.handler_ns, took < COPPER_HANDLER_NS_MAX ? (uint64_t)took : 0);
}

static bool is_perf_event_sig(int number, const siginfo_t *info)
{
    return number == COPPER_PERF_SIGNAL && info->si_code == POLL_IN;
}

/* A perf event's signal carries nothing of ours: the slot is found by the thread. */
static void take_perf_sample_sig(const ucontext_t *context)
{
    struct cu__slot *slot = cu__slot_here_sig();
    if (!slot || atomic_exchange_explicit(&slot->is_busy, true, memory_order_seq_cst)) {
        return;
    }
    /* as in take_sample_sig, with the thread in place of the generation */
    if (slot == cu__slot_here_sig() &&
        atomic_load_explicit(&slot->perf_period_ns, memory_order_acquire) > 0) {
        record_sig(slot, -1, context);
    }
    atomic_store_explicit(&slot->is_busy, false, memory_order_release);
}

static void take_sample_sig(uint64_t cookie, int overrun, const ucontext_t *context)
{
    uint32_t number = cookie & 0xffff;
    if (number >= COPPER_SLOTS_MAX) {
        atomic_fetch_add_explicit(&probes, 1, memory_order_relaxed);
        return;
    }
    struct cu__slot *slot = &cu__slots[number];
    /* pairs with the load in cu__timers_recycle: either it sees the slot busy, or we see the new
     * generation */
    if (atomic_exchange_explicit(&slot->is_busy, true, memory_order_seq_cst)) {
        return;
    }
    uint32_t generation = (uint32_t)(cookie >> 16);
    /* the state pairs with the release in arm_slot: what was set up for this use is there */
    if (atomic_load_explicit(&slot->generation, memory_order_seq_cst) == generation &&
        atomic_load_explicit(&slot->state, memory_order_acquire) == COPPER_SLOT_ARMED) {
        record_sig(slot, overrun > 0 ? overrun : 0, context);
    }
    atomic_store_explicit(&slot->is_busy, false, memory_order_release);
}

void cu__on_signal_sig(int number, siginfo_t *info, void *context)
{
    int saved = errno;
    uint64_t cookie = (uint64_t)(uintptr_t)info->si_value.sival_ptr;
    if (info->si_code == SI_TIMER && cookie >> 48 == COPPER_COOKIE) {
        take_sample_sig(cookie, info->si_overrun, context);
    } else if (is_perf_event_sig(number, info)) {
        take_perf_sample_sig(context);
    } else {
        cu__signal_forward_sig(number, info, context);
    }
    errno = saved;
}

void cu__on_signal_prepare(void)
{
    process = getpid();
}

uint32_t cu__on_signal_probes(void)
{
    return atomic_load_explicit(&probes, memory_order_relaxed);
}
