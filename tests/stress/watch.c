/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: sees to it that nobody waits for ever, and disturbs as much as a tool can.
 *
 * A thread visits all coroutines without pause, and reads the top of each stack that stands still.
 * It notes how long each has waited, or waited to be run; when one has done so for LIMIT_NS, which
 * no step of a round can take, or the round itself has, it prints the seed and every coroutine, and
 * ends the process. Now and then it attaches hooks for a while, looks for deadlocks that are none,
 * and counts.
 *
 * It is a service thread: so that a false "all coroutines are asleep" would end the process, too.
 */
#include <copper/debug.h>
#include <copper/hooks.h>
#include <copper/inspect.h>
#include <copper/time.h>
#include <pthread.h>

#include "stress.h"

#define LIMIT_NS     (120 * COPPER_SEC)
#define RUNNABLE_MAX 4096u

static struct {
    pthread_t thread;
    uint32_t must_end;      /* atomic */
    int64_t round_since_ns; /* atomic */
    uint64_t visits;
    uint64_t sum; /* of stack words: read for the sake of reading */
    int64_t longest_ns[COPPER_WAIT_COUNT], longest_runnable_ns;
    int64_t now_ns;
    cu_id stuck;
    struct runnable {
        cu_id id;
        int64_t stopped_ns, seen_ns;
    } runnable[RUNNABLE_MAX]; /* by the low bits of the id */
    uint64_t created, exited; /* atomic: told by hooks */
} w;

/* A stack that stands still may still be written to by wakers, where the wait's record lies; and it
 * has sanitizers' red zones. Unwinders read it raw. */
__attribute__((no_sanitize("address", "thread"))) static uint64_t read_raw(uint64_t at)
{
    return *(const volatile uint64_t *)(uintptr_t)at;
}

/* How long it has been seen to be runnable, without having run since: what is known of it is only
 * when it last did. */
static int64_t runnable_ns(const struct cu_g_info *g)
{
    struct runnable *r = &w.runnable[(uint64_t)g->id % RUNNABLE_MAX];
    if (r->id != g->id || r->stopped_ns != g->since_ns) {
        *r = (struct runnable){g->id, g->since_ns, w.now_ns};
    }
    return w.now_ns - r->seen_ns;
}

static void note_age(const struct cu_g_info *g)
{
    int64_t age_ns = g->state == COPPER_G_RUNNABLE ? runnable_ns(g) : w.now_ns - g->since_ns;
    int64_t *longest_ns = NULL;
    if (g->is_daemon) {
        return;
    }
    if (g->state == COPPER_G_WAITING && (unsigned)g->reason < COPPER_WAIT_COUNT) {
        longest_ns = &w.longest_ns[g->reason];
    } else if (g->state == COPPER_G_RUNNABLE) {
        longest_ns = &w.longest_runnable_ns;
    }
    if (longest_ns && age_ns > *longest_ns) {
        *longest_ns = age_ns;
    }
    if (longest_ns && age_ns > LIMIT_NS) {
        w.stuck = g->id;
    }
}

static bool look(const struct cu_g_info *g, void *unused)
{
    (void)unused;
    check(g->id > 0 && g->size == sizeof(*g));
    check(g->state != COPPER_G_RUNNING || !g->has_regs);
    if (g->has_regs) {
        check(g->stack_lo < g->regs.sp && g->regs.sp < g->stack_hi);
        for (uint64_t at = g->regs.sp; at < g->stack_hi && at < g->regs.sp + 256; at += 8) {
            w.sum += read_raw(at);
        }
    }
    if (g->object.kind == COPPER_OBJECT_CHAN && g->object.cap) {
        check(g->object.len <= g->object.cap);
    }
    note_age(g);
    return true;
}

static void note_created(void *tool, int64_t now, cu_id g, cu_id parent, const struct cu_site *site)
{
    (void)tool, (void)now, (void)parent, (void)site;
    check(g > 0);
    __atomic_fetch_add(&w.created, 1, __ATOMIC_RELAXED);
}

static void note_running(void *tool, int64_t now, const struct cu_resume *resume)
{
    (void)tool, (void)now;
    check(resume->g > 0 && resume->size == sizeof(*resume));
}

static void note_exited(void *tool, int64_t now, cu_id g, int p)
{
    (void)tool, (void)now, (void)p;
    check(g > 0);
    __atomic_fetch_add(&w.exited, 1, __ATOMIC_RELAXED);
}

static const struct cu_hooks hooks = {.version = COPPER_HOOKS_VERSION,
                                      .size = sizeof(hooks),
                                      .created = note_created,
                                      .running = note_running,
                                      .exited = note_exited};

static void complain(const char *what)
{
    fprintf(stderr, "%s for %lld s, seed %llu\n", what, (long long)(LIMIT_NS / COPPER_SEC),
            (unsigned long long)stress_seed);
    cu_dump(2);
    abort();
}

static void *watch(void *unused)
{
    bool is_attached = false;
    (void)unused;
    check(cu_service_thread_begin() == 0);
    while (!__atomic_load_n(&w.must_end, __ATOMIC_ACQUIRE)) {
        w.now_ns = cu_now();
        check(cu_inspect_each(look, NULL) >= 0);
        if (w.stuck) {
            fprintf(stderr, "coroutine %lld ", (long long)w.stuck);
            complain("has waited");
        }
        if (w.now_ns - __atomic_load_n(&w.round_since_ns, __ATOMIC_RELAXED) > LIMIT_NS) {
            complain("the round has not ended");
        }
        if (w.visits % 64 == 0) {
            check((is_attached ? cu_hooks_detach : cu_hooks_attach)(&hooks, NULL) == 0);
            is_attached = !is_attached;
            check(cu_deadlocks_check(2) == 0);
        }
        w.visits++;
        cu_sleep(300 * COPPER_US);
    }
    if (is_attached) {
        check(cu_hooks_detach(&hooks, NULL) == 0);
    }
    return NULL;
}

void watch_round(void)
{
    __atomic_store_n(&w.round_since_ns, cu_now(), __ATOMIC_RELAXED);
}

void watch_begin(void)
{
    watch_round();
    check(pthread_create(&w.thread, NULL, watch, NULL) == 0);
}

void watch_end(void)
{
    __atomic_store_n(&w.must_end, 1, __ATOMIC_RELEASE);
    pthread_join(w.thread, NULL);
    printf("%llu looks at all coroutines; longest waits in ms: runnable %.3f",
           (unsigned long long)w.visits, (double)w.longest_runnable_ns / 1e6);
    for (size_t i = 1; i < COPPER_WAIT_COUNT; i++) {
        if (w.longest_ns[i] > 0) {
            printf("; %s %.3f", cu_wait_reason_text((enum cu_wait_reason)i),
                   (double)w.longest_ns[i] / 1e6);
        }
    }
    printf("\nlatest sleep %.3f ms late\n", (double)latest_sleep_ns() / 1e6);
}
