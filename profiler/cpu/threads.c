/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: which threads this process has, and where their stacks are, read from /proc by the
 * collector. So no thread has to register, however it was made.
 *
 * Design. A scan lists /proc/self/task, arms what is new and ends the slots of what is gone. A thread
 * missing from the list is asked for by tgkill(0) before it is given up: listing while threads exit
 * can skip some. Every so often a scan is thorough: start times find ids that were used again, and
 * the signal mask finds threads that cannot be sampled.
 *
 * A stack is the mapping that the thread's control block lies in, up to that block: the C library
 * puts it at the upper end of the stack. The main thread's is the mapping called [stack], which the
 * kernel lets grow downwards with nothing else near. Until a thread's stack is known its handler
 * leaves reading it to the kernel.
 *
 * Concurrency: collector thread only. No allocation: static buffers.
 */
#include "cpu_int.h"
#include "task_file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COPPER_MAIN_STACK_MAX (UINT64_C(128) << 20) /* the kernel keeps this much below it free */

struct directory_entry { /* as getdents64 writes it */
    uint64_t inode;
    int64_t offset;
    unsigned short size;
    unsigned char type;
    char name[];
};

static char buffer[64 << 10];
static uint32_t seen[COPPER_SLOTS_MAX]; /* by slot: the scan that last listed its thread */

/* Field 22 of stat: when the thread started, in clock ticks since boot. 0: unknown. */
static uint64_t start_time_of(pid_t tid)
{
    char text[1024];
    if (!cu__read_task_file(tid, "stat", text, sizeof text)) {
        return 0;
    }
    char *at = strrchr(text, ')'); /* the name before it may hold anything */
    for (int field = 2; at && field < 22; field++) {
        at = strchr(at + 1, ' ');
    }
    return at ? strtoull(at, NULL, 10) : 0;
}

bool cu__thread_blocks_signal(pid_t tid, int number)
{
    char text[4096];
    if (!cu__read_task_file(tid, "status", text, sizeof text)) {
        return false;
    }
    const char *line = strstr(text, "\nSigBlk:");
    return line && (strtoull(line + 8, NULL, 16) >> (number - 1) & 1);
}

static struct cu__slot *armed_slot_of(pid_t tid)
{
    /* slots are few; the collector does not take the lock of the host's threads for a look */
    uint32_t used = atomic_load_explicit(&cu__slots_used, memory_order_acquire);
    static uint32_t hint;
    for (uint32_t i = 0; i < used; i++) {
        uint32_t at = hint + i < used ? hint + i : hint + i - used;
        struct cu__slot *slot = &cu__slots[at];
        if (atomic_load_explicit(&slot->tid, memory_order_relaxed) == tid &&
            atomic_load_explicit(&slot->state, memory_order_acquire) == COPPER_SLOT_ARMED) {
            hint = at + 1 < used ? at + 1 : 0;
            return slot;
        }
    }
    return NULL;
}

static void look_closely(struct cu__slot *slot, pid_t tid, int64_t *blocked_ns)
{
    uint64_t born = start_time_of(tid);
    if (slot->born_ticks != 0 && born != 0 && born != slot->born_ticks) {
        cu__timer_disarm(tid); /* the id belongs to another thread now */
        cu__timer_arm(tid);
        return;
    }
    slot->born_ticks = born;
    int64_t cpu = cu__clock_ns(cu__thread_clock(tid));
    /* the C library blocks all signals for moments, in pthread_create for one: a thread that got a
     * signal meanwhile can be sampled */
    uint64_t delivered = atomic_load_explicit(&slot->counts.delivered, memory_order_relaxed);
    bool is_silent = delivered == slot->delivered_looked;
    slot->delivered_looked = delivered;
    if (slot->blocked_looks > 0 && is_silent && cpu > slot->cpu_looked_ns) {
        *blocked_ns += cpu - slot->cpu_looked_ns;
    }
    slot->cpu_looked_ns = cpu;
    bool blocks = cu__thread_blocks_signal(tid, cu__signal_number());
    slot->blocked_looks = !blocks ? 0 : is_silent ? slot->blocked_looks + 1 : 1;
}

static void look_at_thread(pid_t tid, uint32_t scan, bool is_thorough, int64_t *blocked_ns)
{
    if (cu__is_own_thread(tid)) {
        return;
    }
    struct cu__slot *slot = armed_slot_of(tid);
    if (!slot) {
        cu__timer_arm(tid);
        slot = armed_slot_of(tid);
        if (!slot) {
            return;
        }
    }
    seen[slot - cu__slots] = scan;
    if (is_thorough) {
        look_closely(slot, tid, blocked_ns);
    }
}

static void list_threads(uint32_t scan, bool is_thorough, int64_t *blocked_ns)
{
    int fd = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    long n;
    while ((n = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0) {
        for (long at = 0; at < n;) {
            const struct directory_entry *entry = (const void *)(buffer + at);
            pid_t tid = (pid_t)strtol(entry->name, NULL, 10);
            if (tid > 0) {
                look_at_thread(tid, scan, is_thorough, blocked_ns);
            }
            at += entry->size;
        }
    }
    close(fd);
}

void cu__threads_scan(bool is_thorough, int64_t *blocked_ns)
{
    uint32_t scan = cu__timers_scan_begin();
    list_threads(scan, is_thorough, blocked_ns);
    uint32_t used = atomic_load_explicit(&cu__slots_used, memory_order_acquire);
    for (uint32_t i = 0; i < used; i++) {
        struct cu__slot *slot = &cu__slots[i];
        /* armed during this scan: perhaps behind the listing's back */
        if (atomic_load_explicit(&slot->state, memory_order_acquire) != COPPER_SLOT_ARMED ||
            seen[i] == scan || slot->armed_scan == scan) {
            continue;
        }
        pid_t tid = atomic_load_explicit(&slot->tid, memory_order_relaxed);
        if (syscall(SYS_tgkill, getpid(), tid, 0) != 0 && errno == ESRCH) {
            cu__timer_disarm(tid);
        }
    }
}

void cu__threads_note_blocked(struct cu__run *run)
{
    uint32_t used = atomic_load_explicit(&cu__slots_used, memory_order_acquire);
    for (uint32_t i = 0; i < used; i++) {
        const struct cu__slot *slot = &cu__slots[i];
        /* once may be chance: the C library blocks all signals for moments */
        if (slot->blocked_looks < 2 ||
            atomic_load_explicit(&slot->state, memory_order_acquire) != COPPER_SLOT_ARMED) {
            continue;
        }
        run->nblocked++;
        if (run->nnotes == COPPER_RUN_NOTES_MAX) {
            continue;
        }
        pid_t tid = atomic_load_explicit(&slot->tid, memory_order_relaxed);
        char name[COPPER_THREAD_NAME + 1] = "";
        cu__read_task_file(tid, "comm", name, sizeof name);
        name[strcspn(name, "\n")] = '\0';
        snprintf(run->notes[run->nnotes++], COPPER_RUN_NOTE, "thread %d (%s)", (int)tid, name);
    }
}

/* ---- stacks ---------------------------------------------------------------------------------- */

static bool needs_stack(const struct cu__slot *slot)
{
    return atomic_load_explicit(&slot->state, memory_order_acquire) == COPPER_SLOT_ARMED &&
           atomic_load_explicit(&slot->stack_hi, memory_order_relaxed) == 0;
}

static void set_stack(struct cu__slot *slot, uint64_t lo, uint64_t hi)
{
    atomic_store_explicit(&slot->stack_lo, lo, memory_order_relaxed);
    /* pairs with the load in stack_of_sig */
    atomic_store_explicit(&slot->stack_hi, hi, memory_order_release);
}

/* One mapping, [start, end): whose stack is it? */
static void match_mapping(uint64_t start, uint64_t end, bool is_main_stack)
{
    uint32_t used = atomic_load_explicit(&cu__slots_used, memory_order_acquire);
    for (uint32_t i = 0; i < used; i++) {
        struct cu__slot *slot = &cu__slots[i];
        if (!needs_stack(slot)) {
            continue;
        }
        uint64_t pointer = atomic_load_explicit(&slot->thread_pointer, memory_order_relaxed);
        bool is_main = atomic_load_explicit(&slot->tid, memory_order_relaxed) == getpid();
        if (is_main && is_main_stack) {
            set_stack(slot, end - COPPER_MAIN_STACK_MAX, end);
        } else if (!is_main && pointer > start && pointer < end) {
            set_stack(slot, start, pointer);
        }
    }
}

/* A line of maps: "start-end perms offset device inode  name". Only readable and writable ones are
 * stacks. */
static void match_line(const char *line, const char *end_of_line)
{
    char *at;
    uint64_t start = strtoull(line, &at, 16);
    if (*at != '-') {
        return;
    }
    uint64_t end = strtoull(at + 1, &at, 16);
    if (at[0] != ' ' || at[1] != 'r' || at[2] != 'w') {
        return;
    }
    static const char name[] = "[stack]";
    size_t n = sizeof name - 1;
    bool is_main = (size_t)(end_of_line - at) > n && memcmp(end_of_line - n, name, n) == 0;
    match_mapping(start, end, is_main);
}

bool cu__threads_find_stacks(void)
{
    bool is_needed = false, is_unknown = false;
    uint32_t used = atomic_load_explicit(&cu__slots_used, memory_order_acquire);
    for (uint32_t i = 0; i < used; i++) {
        const struct cu__slot *slot = &cu__slots[i];
        bool is_main = atomic_load_explicit(&slot->tid, memory_order_relaxed) == getpid();
        bool has_pointer = atomic_load_explicit(&slot->thread_pointer, memory_order_relaxed) != 0;
        is_unknown |= needs_stack(slot);
        is_needed |= needs_stack(slot) && (is_main || has_pointer);
    }
    int fd = is_needed ? open("/proc/self/maps", O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) {
        return is_unknown;
    }
    size_t kept = 0; /* bytes of an unfinished line at the start of the buffer */
    ssize_t n;
    while ((n = read(fd, buffer + kept, sizeof buffer - kept)) > 0) {
        char *line = buffer, *limit = buffer + kept + (size_t)n, *newline;
        while ((newline = memchr(line, '\n', (size_t)(limit - line)))) {
            match_line(line, newline);
            line = newline + 1;
        }
        kept = (size_t)(limit - line);
        if (kept == sizeof buffer) {
            break; /* no line is that long */
        }
        memmove(buffer, line, kept);
    }
    close(fd);
    return is_unknown;
}
