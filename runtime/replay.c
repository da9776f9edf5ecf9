/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see replay.h.
 *
 * Design of time: workers, and so coroutines, have a clock that stands still but for two things.
 * Each reading by a coroutine advances it by a fixed step, so that a loop that waits for a time
 * ends; and when nothing is runnable it jumps to the next timer, so that sleeping takes no time and
 * timers fire in the order of their deadlines whatever the machine does. While workers rest,
 * because only something from outside can go on, time passes as the real one. Plain threads keep
 * the real clock; the two agree at the start.
 */
#include "replay.h"

#include <errno.h>
#include <stdlib.h>

#include "clock.h"
#include "netpoll.h"
#include "random.h"
#include "report.h"
#include "runq.h"
#include "schedule.h"
#include "tls.h"

#define READING_NS 1000

struct cu__replay cu__replay;

void cu__replay_configure(void)
{
    const char *text = secure_getenv("COPPER_SCHED_SEED");
    char *end;
    if (text == NULL || *text == 0) {
        return;
    }
    errno = 0;
    uint64_t seed = strtoull(text, &end, 0);
    if (*end || errno || *text == '-') {
        cu__complain("COPPER_SCHED_SEED=%s is not a number; nothing is replayed", text);
        return;
    }
    cu__replay.random = (seed + 1) * COPPER_RANDOM_STEP;
    store_relaxed(&cu__replay.now_ns, cu__real_now());
    store_relaxed(&cu__replay.is_on, 1);
}

static uint32_t random_below(uint32_t count)
{
    return (uint32_t)(cu__random(&cu__replay.random) % count);
}

/* There is one P, so its owner is alone with the ring. */
struct cu__g *cu__replay_get(struct cu__p *p)
{
    struct cu__g *next = swap_seq(&p->runnext, NULL);
    if (next) {
        cu__runq_put(p, next);
    }
    next = cu__global_get(p, COPPER_RUNQ_SIZE / 2);
    if (next) {
        cu__runq_put(p, next);
    }
    uint32_t head = load_relaxed(&p->head), count = p->tail - head;
    if (count == 0) {
        store_relaxed(&p->tick,
                      p->tick - 1); /* how often a worker looks in vain is left to chance */
        return NULL;
    }
    struct cu__g **first = &p->ring[head % COPPER_RUNQ_SIZE];
    struct cu__g **chosen = &p->ring[(head + random_below(count)) % COPPER_RUNQ_SIZE];
    struct cu__g *g = load_relaxed(chosen);
    store_relaxed(chosen, load_relaxed(first));
    store_relaxed(&p->head, head + 1);
    return g;
}

bool cu__replay_can_advance(void)
{
    return load_relaxed(&cu__sched.ps[0].timers.counted) != 0 && !cu__netpoll_can_wake();
}

bool cu__replay_advance(struct cu__p *p)
{
    if (!cu__replay_can_advance()) {
        return false;
    }
    int64_t next_ns = load_relaxed(&p->timers.next_ns);
    if (next_ns > load_relaxed(&cu__replay.now_ns)) {
        store_relaxed(&cu__replay.now_ns, next_ns);
    }
    cu__timers_run(p, next_ns);
    return true;
}

bool cu__replay_is_here(void)
{
    return cu__m() != NULL;
}

/* Can only something from outside go on? Not while the P is idle on its way from one to another. */
static bool must_pass_really(const struct cu__m *m)
{
    return load_relaxed(&m->is_idle) && load_seq(&cu__sched.idle_count) &&
           !cu__replay_can_advance() && !cu__work_waits(load_relaxed(&cu__replay.now_ns));
}

/* Several may do so. */
static void pass_really(void)
{
    int64_t real_ns = cu__real_now(), since_ns = load_relaxed(&cu__replay.real_ns);
    while (since_ns < real_ns) {
        if (cas_seq(&cu__replay.real_ns, &since_ns, real_ns)) {
            add_relaxed(&cu__replay.now_ns, since_ns ? real_ns - since_ns : 0);
            return;
        }
    }
}

/* When workers without the P look is left to chance, so they do not advance it otherwise. */
int64_t cu__replay_now(void)
{
    const struct cu__m *m = cu__m();
    if (m->p) {
        store_relaxed(&cu__replay.real_ns, 0);
        add_relaxed(&cu__replay.now_ns, m->g ? READING_NS : 0);
    } else if (must_pass_really(m)) {
        pass_really();
    }
    return load_relaxed(&cu__replay.now_ns);
}

int64_t cu__replay_real(int64_t deadline_ns)
{
    return cu__real_now() + (deadline_ns - cu__replay_now());
}

void cu__replay_after_fork(void)
{
    cu__replay = (struct cu__replay){.is_on = 0};
}
