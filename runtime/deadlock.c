/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: "all coroutines are asleep".
 *
 * Design: a program is dead when
 *   1. every P is idle, nothing is queued, no timer is set, no inspection is under way,
 *   2. every coroutine waits, without a deadline, for something only another coroutine or a thread
 *      can do: neither a descriptor, nor a blocking call, nor a signal,
 *   3. no thread of the program is left that could do it (service.h), and
 *   4. somebody would notice: a coroutine that is no daemon, or a thread, waits.
 * While 1 and 2 hold only a thread can change anything, and with 3 there is none. So a look that
 * finds all of them, and finds afterwards that nothing was switched or spawned meanwhile, has seen
 * a state that lasts. The order matters for threads: one that was foreign during the walk over the
 * coroutines but blocked before it was counted has made somebody ready, which 1 shows again.
 */
#include "deadlock.h"

#include <copper/inspect.h>
#include <copper/time.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dump.h"
#include "report.h"
#include "schedule.h"
#include "service.h"

#define EXIT_STATUS    2 /* as Go's */
#define EXIT_LIMIT_NS  (20 * COPPER_SEC)
#define REPORT_LOOK_NS COPPER_SEC

enum mode { MODE_UNREAD, MODE_EXIT, MODE_REPORT, MODE_OFF };
static enum mode mode; /* written once, before the watch thread runs */
static uint32_t held;  /* any: atomic */

void cu__deadlock_hold(void)
{
    add_seq(&held, 1);
}

void cu__deadlock_release(void)
{
    sub_seq(&held, 1);
}

/* Who held it is not in the child. */
void cu__deadlock_after_fork(void)
{
    held = 0;
}

bool cu__deadlock_is_wanted(void)
{
    const char *value = secure_getenv("COPPER_DEADLOCK");
    if (mode != MODE_UNREAD) {
        return mode != MODE_OFF;
    }
    mode = MODE_EXIT;
    if (value && strcmp(value, "off") == 0) {
        mode = MODE_OFF;
    } else if (value && strcmp(value, "report") == 0) {
        mode = MODE_REPORT;
    } else if (value && *value && strcmp(value, "exit") != 0) {
        cu__complain("COPPER_DEADLOCK=%s is not one of exit, report, off; using exit", value);
    }
    return mode != MODE_OFF;
}

int64_t cu__deadlock_period_ns(void)
{
    return mode == MODE_REPORT ? REPORT_LOOK_NS : 0;
}

struct survey {
    bool can_go_on;
    uint64_t waiting, daemons;
};

static bool survey_one(const struct cu_g_info *g, void *arg)
{
    struct survey *s = arg;
    s->can_go_on = g->state != COPPER_G_WAITING || g->deadline_ns != 0 ||
                   g->reason == COPPER_WAIT_SLEEP || g->reason == COPPER_WAIT_IO_WAIT ||
                   g->reason == COPPER_WAIT_SYSCALL || g->object.kind == COPPER_OBJECT_FD;
    s->waiting++;
    s->daemons += g->is_daemon;
    return !s->can_go_on;
}

/* Grows whenever a coroutine is spawned or goes on. */
static uint64_t count_steps(void)
{
    struct cu_runtime_stats stats = {.size = sizeof(stats)};
    cu_runtime_stats_read(&stats);
    return stats.switches + stats.created;
}

static enum cu__deadlock_look look(struct survey *survey)
{
    uint64_t steps = count_steps();
    *survey = (struct survey){false, 0, 0};
    if (!cu__is_all_idle() || load_seq(&held)) {
        return COPPER_LOOK_BUSY;
    }
    cu_inspect_each(survey_one, survey);
    if (survey->can_go_on) {
        return COPPER_LOOK_BUSY;
    }
    if (survey->waiting == survey->daemons && cu__threads_blocked() == 0) {
        return COPPER_LOOK_BUSY; /* nobody waits who should not */
    }
    if (cu__threads_foreign() != 0) {
        return COPPER_LOOK_FOREIGN;
    }
    return cu__is_all_idle() && count_steps() == steps ? COPPER_LOOK_DEAD : COPPER_LOOK_BUSY;
}

/* Handlers registered with atexit may want a lock that a parked coroutine holds. */
static void *end_in_time(void *unused)
{
    cu_sleep(EXIT_LIMIT_NS);
    _exit(EXIT_STATUS);
    return unused;
}

static void report(const struct survey *survey)
{
    struct cu__text t = {.fd = STDERR_FILENO};
    cu__text_add(&t, "fatal error: all coroutines are asleep - deadlock!\n\n");
    cu__dump_all(&t);
    if (survey->waiting == 0) {
        cu__text_add(&t, "no coroutine is left; threads of the program wait for one\n");
    }
    cu__text_flush(&t);
}

enum cu__deadlock_look cu__deadlock_look(void)
{
    static bool is_reported;
    struct survey survey, again;
    enum cu__deadlock_look first = mode == MODE_OFF ? COPPER_LOOK_BUSY : look(&survey);
    if (first != COPPER_LOOK_DEAD) {
        is_reported = false;
        return first;
    }
    if (is_reported) {
        return COPPER_LOOK_DEAD;
    }
    enum cu__deadlock_look second = look(&again);
    if (second != COPPER_LOOK_DEAD) {
        return second;
    }
    is_reported = true;
    if (mode == MODE_EXIT) {
        cu__report_is_fatal();
    }
    report(&again);
    if (mode == MODE_EXIT) {
        pthread_t last_resort;
        pthread_create(&last_resort, NULL, end_in_time, NULL);
        exit(EXIT_STATUS);
    }
    return COPPER_LOOK_DEAD;
}
