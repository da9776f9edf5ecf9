/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: perf events, for the rates above the kernel's tick: one for each sampled thread, of its task
 * clock at user level, which posts COPPER_PERF_SIGNAL to the thread. What the samples weigh: cpu_int.h.
 *
 * Design. The host may close any descriptor at any time, and the kernel may give its number to
 * another file at once, so that no descriptor of ours can be told from one of the host's later on. So
 * there is none. Events are opened by a helper thread with a table of descriptors of its own, and
 * what keeps an event is not its descriptor, which is closed again at once, but a mapping of its first
 * page. Unmapping the page ends the event. Hence nothing counts against RLIMIT_NOFILE, a forked child
 * inherits nothing (the kernel does not copy such mappings), and exec ends all.
 *
 * The signal is SIGURG: where it arrives late, after exec or where nobody handles it any more, it is
 * ignored by default, while SIGPROF would kill. Events count the user level only: those reach the thread
 * before its next instruction, so that no call of the host is interrupted, and need no privilege.
 *
 * Pages of events are locked memory, of which the kernel grants each user perf_event_mlock_kb for each
 * CPU, for all that it runs. We take half of that at most; threads beyond it keep their timers. The
 * same holds for all threads when the kernel refuses, when the program handles SIGURG, and when a
 * seccomp filter is in force: those often kill whoever tries.
 *
 * Concurrency: want and pass are the collector's; pass waits for the helper. `lock` covers what the two
 * share, and is taken before cu__slots_lock. The helper lives while events are wanted.
 */
#include "cpu_int.h"
#include "task_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COPPER_PERF_AFTER_NS    25000000 /* CPU time of a thread that is worth an event */
#define COPPER_PERF_JITTER      32 /* periods are up to 1/32 shorter, so that threads do not keep step */
#define COPPER_PERF_SKIPS       20 /* passes until a thread that blocks the signal is looked at again */
#define COPPER_PERF_MLOCK_KB    516 /* the kernel's default */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t asked_changed = PTHREAD_COND_INITIALIZER; /* the helper waits */
static pthread_cond_t done_changed = PTHREAD_COND_INITIALIZER;  /* the collector waits */
static uint64_t asked, done;       /* lock: passes */
static bool has_helper, is_ending; /* lock */
static uint64_t wanted_ns;         /* lock: the period, 0: none */
static _Atomic unsigned nevents;
static unsigned most_events;       /* the helper's */
static _Atomic(const char *) refusal, few; /* why all, or some, go without */

/* ---- one event ------------------------------------------------------------------------------- */

static uint64_t jittered(uint64_t period_ns)
{
    static uint64_t seed;
    seed = (seed ^ (uint64_t)cu__now_ns()) * UINT64_C(6364136223846793005) + 1442695040888963407;
    return period_ns - (period_ns / COPPER_PERF_JITTER) * (seed >> 48) / 65536;
}

static int open_event(pid_t tid, uint64_t period_ns)
{
    struct perf_event_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.size = sizeof attr;
    attr.type = PERF_TYPE_SOFTWARE;
    attr.config = PERF_COUNT_SW_TASK_CLOCK;
    attr.sample_period = period_ns;
    attr.wakeup_events = 1;
    attr.exclude_kernel = 1;
    attr.exclude_hv = 1;
    attr.disabled = 1;
    long fd = syscall(SYS_perf_event_open, &attr, tid, -1, -1, PERF_FLAG_FD_CLOEXEC);
    return fd >= 0 ? (int)fd : -errno;
}

/* Makes an open event post the signal to the thread, and maps it. The page, or MAP_FAILED. */
static void *set_up_event(int fd, pid_t tid)
{
    struct f_owner_ex owner = {.type = F_OWNER_TID, .pid = tid};
    if (fcntl(fd, F_SETSIG, COPPER_PERF_SIGNAL) != 0 || fcntl(fd, F_SETOWN_EX, &owner) != 0 ||
        fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK) != 0) {
        return MAP_FAILED;
    }
    void *page = mmap(NULL, (size_t)sysconf(_SC_PAGESIZE), PROT_READ, MAP_SHARED, fd, 0);
    if (page != MAP_FAILED && ioctl(fd, PERF_EVENT_IOC_ENABLE, 0) != 0) {
        munmap(page, (size_t)sysconf(_SC_PAGESIZE));
        return MAP_FAILED;
    }
    return page;
}

static const char *refusal_of(int err)
{
    switch (-err) {
    case EACCES:
    case EPERM:
        return "the kernel does not permit it (see /proc/sys/kernel/perf_event_paranoid)";
    case ENOSYS:
        return "the kernel does not have it";
    default:
        return "the kernel refused it";
    }
}

/* lock: slots. used_ns: of the thread's clock. */
static void give(struct cu__slot *slot, pid_t tid, uint64_t period_ns, int64_t used_ns)
{
    uint64_t period = jittered(period_ns);
    int fd = open_event(tid, period);
    if (fd < 0) {
        bool is_threads_own = fd == -ESRCH || fd == -ENOMEM || fd == -ENFILE;
        if (!is_threads_own) {
            atomic_store_explicit(&refusal, refusal_of(fd), memory_order_relaxed);
        }
        slot->perf_skips = COPPER_PERF_SKIPS;
        return;
    }
    void *page = set_up_event(fd, tid);
    close(fd);
    if (page == MAP_FAILED) {
        most_events = atomic_load_explicit(&nevents, memory_order_relaxed); /* locked memory */
        return;
    }
    slot->perf_page = page;
    atomic_fetch_add_explicit(&nevents, 1, memory_order_relaxed);
    atomic_store_explicit(&slot->perf_from_ns, (uint64_t)used_ns, memory_order_relaxed);
    /* pairs with the loads in the handler */
    atomic_store_explicit(&slot->perf_period_ns, period, memory_order_release);
}

void cu__perf_drop(struct cu__slot *slot)
{
    if (!slot->perf_page) {
        return;
    }
    atomic_store_explicit(&slot->perf_period_ns, 0, memory_order_relaxed);
    munmap(slot->perf_page, (size_t)sysconf(_SC_PAGESIZE));
    slot->perf_page = NULL;
    atomic_fetch_sub_explicit(&nevents, 1, memory_order_relaxed);
}

/* ---- the helper ------------------------------------------------------------------------------ */

static bool is_wanting(const struct cu__slot *slot)
{
    return atomic_load_explicit(&slot->state, memory_order_acquire) == COPPER_SLOT_ARMED &&
           atomic_load_explicit(&slot->perf_period_ns, memory_order_relaxed) == 0;
}

static void consider(struct cu__slot *slot, uint64_t period_ns)
{
    pid_t tid = atomic_load_explicit(&slot->tid, memory_order_relaxed);
    int64_t used_ns = cu__clock_ns(cu__thread_clock(tid));
    if (used_ns < COPPER_PERF_AFTER_NS) {
        return;
    }
    pthread_mutex_lock(&cu__slots_lock);
    bool is_same = is_wanting(slot) && atomic_load_explicit(&slot->tid, memory_order_relaxed) == tid;
    if (is_same && slot->perf_skips > 0) {
        slot->perf_skips--;
    } else if (is_same && cu__thread_blocks_signal(tid, COPPER_PERF_SIGNAL)) {
        slot->perf_skips = COPPER_PERF_SKIPS;
        atomic_store_explicit(&few, "they block SIGURG", memory_order_relaxed);
    } else if (is_same) {
        give(slot, tid, period_ns, used_ns);
    }
    pthread_mutex_unlock(&cu__slots_lock);
}

static void give_all(uint64_t period_ns)
{
    uint32_t used = atomic_load_explicit(&cu__slots_used, memory_order_acquire);
    for (uint32_t i = 0; i < used; i++) {
        if (atomic_load_explicit(&refusal, memory_order_relaxed)) {
            return;
        }
        if (!is_wanting(&cu__slots[i])) {
            continue;
        }
        if (atomic_load_explicit(&nevents, memory_order_relaxed) >= most_events) {
            atomic_store_explicit(&few, "they would lock more than half of perf_event_mlock_kb",
                                  memory_order_relaxed);
            return;
        }
        consider(&cu__slots[i], period_ns);
    }
}

static bool has_seccomp_filter(void)
{
    char text[4096];
    pid_t self = (pid_t)syscall(SYS_gettid);
    const char *line = cu__read_task_file(self, "status", text, sizeof text)
                           ? strstr(text, "\nSeccomp:")
                           : NULL;
    return line && strtol(line + sizeof "\nSeccomp:" - 1, NULL, 10) != 0;
}

static unsigned share_of_locked_memory(void)
{
    char text[32] = "";
    int fd = open("/proc/sys/kernel/perf_event_mlock_kb", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    if (fd >= 0) {
        close(fd);
    }
    long kb = n > 0 ? strtol(text, NULL, 10) : COPPER_PERF_MLOCK_KB;
    long page_kb = sysconf(_SC_PAGESIZE) >> 10, cpus = sysconf(_SC_NPROCESSORS_ONLN);
    return kb > 0 && cpus > 0 ? (unsigned)(kb / page_kb * cpus / 2) : 0;
}

static const char *prepare_helper(void)
{
    if (syscall(SYS_close_range, 0U, ~0U, CLOSE_RANGE_UNSHARE) != 0) {
        return "the kernel has no close_range";
    }
    most_events = share_of_locked_memory();
    return has_seccomp_filter() ? "a seccomp filter is in force" : NULL;
}

static void *help(void *unused)
{
    cu__own_thread_begin("copper-perf");
    const char *problem = prepare_helper();
    pthread_mutex_lock(&lock);
    if (problem) {
        atomic_store_explicit(&refusal, problem, memory_order_relaxed);
    }
    while (!is_ending) {
        if (done == asked) {
            pthread_cond_wait(&asked_changed, &lock);
            continue;
        }
        uint64_t pass = asked, period_ns = wanted_ns;
        pthread_mutex_unlock(&lock);
        give_all(period_ns);
        pthread_mutex_lock(&lock);
        done = pass;
        pthread_cond_broadcast(&done_changed);
    }
    has_helper = false;
    pthread_cond_broadcast(&done_changed);
    pthread_mutex_unlock(&lock);
    return unused;
}

/* lock. */
static bool start_helper(void)
{
    is_ending = false;
    has_helper = has_helper || cu__own_thread_start(help, NULL) == 0;
    return has_helper;
}

/* ---- the collector's side -------------------------------------------------------------------- */

static void drop_all(void)
{
    pthread_mutex_lock(&cu__slots_lock);
    uint32_t used = atomic_load_explicit(&cu__slots_used, memory_order_relaxed);
    for (uint32_t i = 0; i < used; i++) {
        cu__perf_drop(&cu__slots[i]);
        cu__slots[i].perf_skips = 0;
    }
    pthread_mutex_unlock(&cu__slots_lock);
}

void cu__perf_want(uint64_t period_ns)
{
    pthread_mutex_lock(&lock);
    if (period_ns != wanted_ns) {
        wanted_ns = period_ns;
        drop_all();
        atomic_store_explicit(&refusal, NULL, memory_order_relaxed);
        atomic_store_explicit(&few, NULL, memory_order_relaxed);
    }
    if (period_ns == 0) {
        is_ending = true;
        pthread_cond_signal(&asked_changed);
        while (has_helper) {
            pthread_cond_wait(&done_changed, &lock);
        }
    } else if (!atomic_load_explicit(&refusal, memory_order_relaxed) &&
               !cu__perf_signal_install()) {
        atomic_store_explicit(&refusal, "SIGURG has a handler of the program", memory_order_relaxed);
    }
    pthread_mutex_unlock(&lock);
}

void cu__perf_pass(void)
{
    pthread_mutex_lock(&lock);
    if (wanted_ns > 0 && !atomic_load_explicit(&refusal, memory_order_relaxed)) {
        if (!cu__perf_signal_is_ours()) {
            atomic_store_explicit(&refusal, "the program took SIGURG meanwhile",
                                  memory_order_relaxed);
            drop_all();
        } else if (start_helper()) {
            uint64_t pass = ++asked;
            pthread_cond_signal(&asked_changed);
            while (done < pass && has_helper) {
                pthread_cond_wait(&done_changed, &lock);
            }
        }
    }
    pthread_mutex_unlock(&lock);
}

unsigned cu__perf_threads(void)
{
    return atomic_load_explicit(&nevents, memory_order_relaxed);
}

const char *cu__perf_refusal(void)
{
    const char *why = atomic_load_explicit(&refusal, memory_order_relaxed);
    return why ? why : atomic_load_explicit(&few, memory_order_relaxed);
}

void cu__perf_forget(void)
{
    pthread_mutex_init(&lock, NULL);
    pthread_cond_init(&asked_changed, NULL);
    pthread_cond_init(&done_changed, NULL);
    asked = 0;
    done = 0;
    has_helper = false;
    wanted_ns = 0;
    atomic_store_explicit(&nevents, 0, memory_order_relaxed);
    for (uint32_t i = 0; i < COPPER_SLOTS_MAX; i++) {
        cu__slots[i].perf_page = NULL; /* not mapped here: no unmapping of what may be there now */
        atomic_store_explicit(&cu__slots[i].perf_period_ns, 0, memory_order_relaxed);
    }
}
