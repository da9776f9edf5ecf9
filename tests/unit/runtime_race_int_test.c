/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: race.h in every order of its atomic steps: whoever wins and whoever leaves, a coroutine
 * is readied exactly once for each of its waits, by one winner, and never by who meant an old wait.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* in this order */
#include <setjmp.h>

#include <cmocka.h>

#define INTERLEAVE_RELAXED
#include "interleave_atomics.h"
#include "race.h"

void cu__assert_failed(const char *what, const char *file, int line)
{
    fprintf(stderr, "%s:%d: %s\n", file, line, what);
    abort();
}

static struct cu__race race;
static struct cu__waiter records[2];
static bool is_listed[2], is_locked; /* one list for each record, one lock for both */
static uint64_t ticket;
static unsigned won, by_deadline, readied;

static void take_lock(void)
{
    interleave_step();
    while (is_locked) {
        interleave_wait();
    }
    is_locked = true;
}

static void drop_lock(void)
{
    interleave_step();
    is_locked = false;
}

static void begin(void)
{
    memset(&race, 0, sizeof(race));
    won = by_deadline = readied = 0;
    is_locked = false;
    ticket = cu__race_open_gated(&race);
    for (int i = 0; i < 2; i++) {
        records[i] = (struct cu__waiter){.race = &race};
        is_listed[i] = true;
    }
}

static void go_through_gate(void)
{
    won++;
    readied += cu__gate_won(&race);
}

/* Wakes whoever it finds in a list. */
static void wake_by(int i)
{
    take_lock();
    bool is_mine = is_listed[i] && cu__race_win_by(&records[i]);
    is_listed[i] = false;
    drop_lock();
    if (is_mine) {
        go_through_gate();
    }
}

static void wake_by_first(void)
{
    wake_by(0);
}

static void wake_by_second(void)
{
    wake_by(1);
}

static void come_due(void)
{
    if (cu__race_win(&race, ticket)) {
        by_deadline++;
        go_through_gate();
    }
}

static void leave(void)
{
    readied += cu__gate_left(&race);
}

/* Is readied, takes its records out, and waits anew in the first list. */
static void leave_twice(void)
{
    leave();
    while (readied == 0) {
        interleave_wait();
    }
    take_lock();
    is_listed[0] = is_listed[1] = false;
    drop_lock();
    cu__race_open_gated(&race);
    take_lock();
    is_listed[0] = true;
    drop_lock();
    leave();
}

static bool once(void)
{
    return won == 1 && readied == 1 && (race.word & 1) == 0;
}

static bool once_by_a_record(void)
{
    return once() && (race.winner == &records[0] || race.winner == &records[1]);
}

static bool once_by_either(void)
{
    return once() && (race.winner == NULL) == (by_deadline == 1);
}

/* The deadline can only have ended the first wait: the second goes on, unless the waker, which then
 * found nobody in the list before, ended it. */
static bool second_is_left_alone(void)
{
    return by_deadline <= 1 && won == readied && (won == 2) == ((race.word & 1) == 0) &&
           (won == 1 || (by_deadline == 1 && race.winner == &records[0]));
}

static void explore(void **state)
{
    static const struct interleave_program programs[] = {
        {"a winner and the leaver", begin, {wake_by_first, leave}, once_by_a_record, 10},
        {"two winners", begin, {wake_by_first, wake_by_second, leave}, once_by_a_record, 4},
        {"a waker and the deadline", begin, {wake_by_first, come_due, leave}, once_by_either, 4},
        {"an old deadline", begin, {wake_by_first, come_due, leave_twice}, second_is_left_alone, 3},
    };
    (void)state;
    if (!INTERLEAVE_IS_POSSIBLE) {
        skip();
    }
    for (size_t i = 0; i < ARRAY_LEN(programs); i++) {
        uint64_t orders = interleave_explore(&programs[i]);
        print_message("%s: %llu orders\n", programs[i].name, (unsigned long long)orders);
        assert_true(orders > 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(explore)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
