/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what safe points cost that nobody asks for: ns for one turn of some small loops without
 * and with them, and the ratio; and ns for one cu_checkpoint.
 *
 * With a name, only that work in its `safe` (or, with a second argument, `plain`) form, once: to
 * count instructions.
 */
#include <copper/go.h>
#include <copper/preempt.h>
#include <string.h>

#include "bench.h"
#include "safe_points_work.h"

#define TURNS  WORK_NUMBERS
#define ROUNDS 15

static uint32_t numbers[WORK_NUMBERS];
static volatile uint64_t result;

static double turn_ns(const struct work *w)
{
    int64_t start_ns = cu_now();
    result = w->run(numbers, TURNS);
    return (double)(cu_now() - start_ns) / TURNS;
}

static int app(void *unused)
{
    (void)unused;
    char text[64];
    for (int i = 0; plain_work[i].name; i++) {
        double plain_ns = 1e9, safe_ns = 1e9; /* the least of some rounds, in turn */
        for (int round = 0; round < ROUNDS; round++) {
            double ns = turn_ns(&plain_work[i]);
            plain_ns = ns < plain_ns ? ns : plain_ns;
            ns = turn_ns(&safe_work[i]);
            safe_ns = ns < safe_ns ? ns : safe_ns;
        }
        snprintf(text, sizeof(text), "safe_points.%s.plain", plain_work[i].name);
        bench_result(text, plain_ns, "ns");
        snprintf(text, sizeof(text), "safe_points.%s.safe", plain_work[i].name);
        bench_result(text, safe_ns, "ns");
        snprintf(text, sizeof(text), "safe_points.%s.ratio", plain_work[i].name);
        bench_result(text, safe_ns / plain_ns, "times");
    }
    struct bench b = bench_start();
    for (int i = 0; i < 10000000; i++) {
        cu_checkpoint();
    }
    bench_stop(&b, "checkpoint", 10000000);
    return 0;
}

static int run_one(const char *name, bool is_plain)
{
    const struct work *w = is_plain ? plain_work : safe_work;
    for (; w->name; w++) {
        if (strcmp(w->name, name) == 0) {
            result = w->run(numbers, TURNS);
            return 0;
        }
    }
    fprintf(stderr, "no work named %s\n", name);
    return 2;
}

int main(int argc, char **argv)
{
    for (uint32_t i = 0; i < WORK_NUMBERS; i++) {
        numbers[i] = (i * 2654435761u) >> 20;
    }
    return argc > 1 ? run_one(argv[1], argc > 2) : cu_run(app, NULL);
}
