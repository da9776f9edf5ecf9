/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: timer_chan.c in every order of its steps: whoever starts, stops, waits and drops while a
 * timer comes due, each time is received once, or stop says that it never will be; a function runs
 * as often as start and stop say; and what is freed is touched no more.
 */
#include "explore.h"

static void *take_memory(size_t bytes);
static void give_memory(void *p);
#define calloc(n, bytes) take_memory((n) * (bytes))
#define free(p)          give_memory(p)
#include "timer_chan.c"
#undef calloc
#undef free

/* ---- what it calls: memory for one timer, a heap for one timer ---- */

static struct {
    _Alignas(64) char bytes[1024];
    bool is_taken;
} memory;

static void *take_memory(size_t bytes)
{
    assert_true(bytes <= sizeof(memory.bytes));
    memset(memory.bytes, 0, sizeof(memory.bytes));
    memory.is_taken = true;
    return memory.bytes;
}

static void give_memory(void *p)
{
    explore_check(memory.is_taken);
    memory.is_taken = false;
    explore_free(p, sizeof(memory.bytes));
}

static struct {
    struct cu__timer *timer;    /* NULL: empty */
    struct cu__lock is_waiting; /* held while there is nothing to do for who runs the heap */
    int users;                  /* actors that may still start one */
} heap;

static void look_again(void)
{
    heap.is_waiting.word = heap.timer == NULL && heap.users > 0;
}

void cu__timer_start(struct cu__timer *t, int64_t deadline_ns)
{
    explore_step();
    explore_check(heap.timer == NULL && t->p == NULL);
    t->deadline_ns = deadline_ns;
    t->p = (struct cu__p *)&heap;
    heap.timer = t;
    look_again();
}

bool cu__timer_stop(struct cu__timer *t)
{
    explore_step();
    bool is_stopped = heap.timer == t;
    if (is_stopped) {
        heap.timer = NULL;
        t->p = NULL;
        look_again();
    }
    return is_stopped;
}

/* An actor: time passes while somebody may start a timer. */
static void run_heap(void)
{
    for (;;) {
        x.needs[x.current] = &heap.is_waiting;
        explore_step();
        x.needs[x.current] = NULL;
        struct cu__timer *t = heap.timer;
        if (t == NULL) {
            return;
        }
        x.now_ns = t->deadline_ns > x.now_ns ? t->deadline_ns : x.now_ns;
        heap.timer = NULL;
        t->p = NULL;
        look_again();
        explore_step();
        t->fire(t, t->tag, x.now_ns);
    }
}

static void leave_heap(void)
{
    heap.users--;
    look_again();
}

int cu__start(void)
{
    return 0;
}

int64_t cu__deadline(int64_t ns)
{
    return cu_now() + ns;
}

cu_chan *cu_chan_ref(cu_chan *c)
{
    return c;
}

void cu_chan_unref(cu_chan *c)
{
    cu__timed_free(c);
}

void cu__complain(const char *format, ...)
{
    explore_fail(format);
}

static int started, busy; /* functions; heirs that are about to be */

cu_id cu__spawn(const struct cu__spawn *spawn)
{
    explore_step();
    explore_check(spawn->heir && memory.is_taken);
    started++;
    return 1;
}

void cu__heir_make(struct cu__heir *heir, void (*fn)(void *), const struct cu_site *site)
{
    (void)heir, (void)fn, (void)site;
}

void cu__heir_drop(struct cu__heir *heir)
{
    (void)heir;
}

void cu__heir_is_busy(const struct cu__heir *heir)
{
    (void)heir;
    busy++;
}

void cu__heir_is_idle(const struct cu__heir *heir)
{
    (void)heir;
    busy--;
}

/* ---- scripts ---- */

#define LATER (1000 * COPPER_SEC) /* beyond all that readings of the clock add */

static cu_timer *timer;
static cu_ticker *ticker;
static int64_t got[ACTORS_MAX]; /* 0: nothing yet */
static bool said;

static void begin(int users)
{
    memset(got, 0, sizeof(got));
    heap.timer = NULL;
    heap.users = users;
    started = busy = 0;
    said = false;
    x.current = 0; /* what follows takes no steps */
    look_again();
}

static int receive(cu_chan *c, bool may_wait)
{
    explore_lock(&c->lock);
    int result = cu__timed_receive(c, &got[x.current], may_wait, NULL);
    explore_check(result == 0 || !may_wait);
    return result;
}

static void never(void *unused)
{
    (void)unused;
}

/* The state in which every schedule begins is made by the first actor, before the others go on. */
static struct cu__lock being_made;

static void await_made(void)
{
    explore_lock(&being_made);
    explore_unlock(&being_made);
}

static void reset_for_two(void)
{
    begin(2);
    being_made.word = 1;
}

static void made(void)
{
    being_made.word = 0;
}

/* A receiver, one who stops the timer and if it was in time starts it anew, the heap. */
static void stop_under_a_receiver(int actor)
{
    if (actor == 0) {
        timer = cu_timer_new(10);
        made();
        receive(cu_timer_chan(timer), true);
        leave_heap();
        return;
    }
    await_made();
    if (actor == 1) {
        said = cu_timer_stop(timer);
        if (said) {
            cu_timer_reset(timer, LATER);
        }
        leave_heap();
        return;
    }
    run_heap();
}

static void received_once(void)
{
    explore_check(said == (got[0] >= LATER));
    explore_check(got[0] > 0 && !timer->is_running && !timer->is_armed && heap.timer == NULL);
}

/* A receiver that does not wait: stop says whether it got the time. */
static void stop_or_receive(int actor)
{
    if (actor == 0) {
        timer = cu_timer_new(10);
        x.now_ns += 10;
        made();
        receive(cu_timer_chan(timer), false);
        return;
    }
    await_made();
    said = cu_timer_stop(timer);
}

static void one_or_the_other(void)
{
    explore_check(said == (got[0] == 0));
}

/* Later, under a receiver: the time it gets is one of the two. */
static void reset_under_a_receiver(int actor)
{
    if (actor == 0) {
        timer = cu_timer_new(10);
        made();
        receive(cu_timer_chan(timer), true);
        leave_heap();
        return;
    }
    await_made();
    if (actor == 1) {
        said = cu_timer_reset(timer, LATER);
        leave_heap();
        return;
    }
    run_heap();
}

static void received_by_what_reset_said(void)
{
    explore_check(said == (got[0] >= LATER));
    explore_check(timer->is_running != said);
}

/* Two receivers, one ticker: nobody is forgotten. */
static void tick_for_two(int actor)
{
    if (actor == 0) {
        ticker = cu_ticker_new(10);
        made();
    } else {
        await_made();
    }
    if (actor == 2) {
        run_heap();
        return;
    }
    receive(cu_ticker_chan(ticker), true);
    leave_heap();
}

static void both_got_one(void)
{
    explore_check(got[0] > 0 && got[1] > 0 && got[0] != got[1]);
    explore_check(heap.timer == NULL);
}

/* A function that is reset while it may be about to start. */
static void reset_function(int actor)
{
    if (actor == 0) {
        timer = cu_after_func(10, never, NULL);
        made();
        said = cu_timer_reset(timer, LATER);
        leave_heap();
        return;
    }
    await_made();
    run_heap();
}

static void ran_as_reset_said(void)
{
    explore_check(started == (said ? 1 : 2) && busy == 0);
}

static void stop_function(int actor)
{
    if (actor == 0) {
        timer = cu_after_func(10, never, NULL);
        made();
        said = cu_timer_stop(timer);
        cu_timer_unref(timer);
        leave_heap();
        return;
    }
    await_made();
    run_heap();
}

static void ran_as_stop_said(void)
{
    explore_check(started == !said && busy == 0 && !memory.is_taken);
}

/* Dropped without a stop. */
static void drop_function(int actor)
{
    if (actor == 0) {
        timer = cu_after_func(10, never, NULL);
        made();
        cu_timer_unref(timer);
        leave_heap();
        return;
    }
    await_made();
    run_heap();
}

static void ran_and_is_gone(void)
{
    explore_check(started == 1 && busy == 0 && !memory.is_taken);
}

/* One who receives, and drops the timer after that, while the heap may still have hold of it. */
static void receive_and_drop(int actor)
{
    if (actor == 0) {
        ticker = cu_ticker_new(10);
        made();
        receive(cu_ticker_chan(ticker), true);
        cu_ticker_unref(ticker);
        leave_heap();
        return;
    }
    await_made();
    run_heap();
}

static void received_and_is_gone(void)
{
    explore_check(got[0] > 0 && !memory.is_taken && heap.timer == NULL);
}

static void reset_for_one(void)
{
    reset_for_two();
    heap.users = 1;
}

static void explore_timers(void **state)
{
    (void)state;
    x.preemptions_max = COPPER_WITH_ASAN ? 2 : 3; /* where a switch of contexts is dear */
    explore("stop under a receiver", 3, reset_for_two, stop_under_a_receiver, received_once);
    explore("stop or receive", 2, reset_for_two, stop_or_receive, one_or_the_other);
    explore("reset under a receiver", 3, reset_for_two, reset_under_a_receiver,
            received_by_what_reset_said);
    explore("tick for two", 3, reset_for_two, tick_for_two, both_got_one);
    explore("reset of a function", 2, reset_for_one, reset_function, ran_as_reset_said);
    explore("stop of a function", 2, reset_for_one, stop_function, ran_as_stop_said);
    explore("drop of a function", 2, reset_for_one, drop_function, ran_and_is_gone);
    explore("receive and drop", 2, reset_for_one, receive_and_drop, received_and_is_gone);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(explore_timers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
