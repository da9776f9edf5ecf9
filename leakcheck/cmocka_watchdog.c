/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose. A test that hangs says where, and ends the process, instead of waiting for somebody
 * else's time limit.
 *
 * Design. The thread of cmocka only waits while a body runs, so it is the watchdog. The coroutines
 * cannot be stopped, and what they hold nobody knows: the process ends.
 */
#include "cmocka_int.h"

#include <copper/time.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TIMEOUT_DEFAULT_NS (60 * COPPER_SEC)
#define STATUS_HUNG        1

static const struct {
    const char *name;
    int64_t ns;
} units[] = {
    {"ms", COPPER_MS}, {"s", COPPER_SEC}, {"m", 60 * COPPER_SEC}, {"min", 60 * COPPER_SEC}};

/* "60s", "500ms", "5m"; "0". */
static int64_t read_timeout(const char *text)
{
    char *end;
    double value = strtod(text, &end);
    if (end != text && value >= 0 && value < 1e6) {
        for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
            if (strcmp(end, units[i].name) == 0)
                return (int64_t)(value * (double)units[i].ns);
        if (value == 0 && *end == '\0')
            return 0;
        if (*end == '\0')
            fprintf(stderr, "copper: COPPER_TEST_TIMEOUT=%s has no unit; write %ss\n", text, text);
    }
    if (end == text || *end != '\0')
        fprintf(stderr, "copper: COPPER_TEST_TIMEOUT=%s is no time such as 60s\n", text);
    return TIMEOUT_DEFAULT_NS;
}

int64_t cu__cmocka_timeout_ns(void)
{
    static int64_t timeout_ns = -1; /* runner's */
    if (timeout_ns < 0) {
        const char *text = getenv("COPPER_TEST_TIMEOUT");
        timeout_ns = text == NULL ? TIMEOUT_DEFAULT_NS : read_timeout(text);
    }
    return timeout_ns;
}

void cu__cmocka_hangs(const struct cu__cmocka_test *test)
{
    const struct cu_leak_options once = {.size = sizeof once, .timeout_ns = 0, .fd = 2};
    const char *name = test->is->site.function;
    if (ftrylockfile(stdout) == 0) {
        fflush_unlocked(stdout);
        funlockfile(stdout);
    }
    fprintf(stderr, "[  ERROR   ] --- %s did not end within %g s\n", name,
            (double)cu__cmocka_timeout_ns() / (double)COPPER_SEC);
    struct cu_leak_report *report;
    cu_leak_find(test->scope, &once, &report);
    if (report != NULL)
        cu_leak_report_print(report, name, &once);
    fcloseall();
    _exit(STATUS_HUNG);
}
