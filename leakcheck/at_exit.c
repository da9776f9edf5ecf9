/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose. The report when the process ends, and its exit status.
 *
 * Design. on_exit(3) is told the status that the program would end with. A constructor of this
 * library registers the handler, before any handler of the program's own, so that it runs after
 * them and after C++ destructors. Where the status has to change, nothing may run after us:
 * fcloseall() is just what exit() itself would do next, flush every stream without waiting for
 * locks that a parked coroutine may hold; then _exit.
 *
 * Where COPPER_LEAKCHECK is not set the constructor looks at the environment and does no more.
 */
#include "leak_int.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The profiler's, where that is in the process too: what it records is written before nothing runs any
 * more. */
extern void cu_preload_finish(void) __attribute__((weak));

#define SETTLE_NS COPPER_LEAK_TIMEOUT_DEFAULT_NS

static _Atomic bool is_registered;
static bool is_forbidden; /* COPPER_LEAKCHECK=none; written before main */

/* What is stranded now; *report as from cu__leak_report_make. */
static int find_stranded(struct cu_leak_report **report)
{
    const struct cu_leak_options options = {COPPER_LEAK_OPTIONS};
    const struct cu__leak_query query = {
        .self = cu_self(), .is_main_counted = true, .is_stranded_only = true};
    struct cu__leak_set set;
    bool is_settled;
    int64_t settle_ns;
    *report = NULL;
    int err = cu__leak_settle(&query, SETTLE_NS, &set, &is_settled, &settle_ns);
    if (err == 0)
        err = cu__leak_report_make(&set, &options, report);
    cu__leak_set_free(&set);
    if (err == 0 && *report != NULL) {
        (*report)->is_settled = is_settled;
        (*report)->settle_ns = settle_ns;
    }
    return err;
}

/* What the program printed comes before the report, unless somebody holds the stream. */
static void flush_stdout(void)
{
    if (ftrylockfile(stdout) != 0)
        return;
    fflush_unlocked(stdout);
    funlockfile(stdout);
}

static void report_at_exit(int status, void *unused)
{
    (void)unused;
    struct cu_leak_report *report;
    int err = find_stranded(&report);
    if (err < 0) {
        fprintf(stderr, "copper: no leak check at exit: %s\n", strerror(-err));
        return;
    }
    if (report == NULL)
        return;
    flush_stdout();
    cu__leak_print(report, "copper", "stranded at exit", NULL);
    cu_leak_report_free(report);
    if ((status & 0xff) != 0)
        return;
    if (cu_preload_finish)
        cu_preload_finish();
    fcloseall();
    _exit(COPPER_LEAK_EXIT_STATUS);
}

int cu_leak_check_at_exit(void)
{
    if (is_forbidden || atomic_exchange_explicit(&is_registered, true, memory_order_relaxed))
        return 0;
    return on_exit(report_at_exit, NULL) == 0 ? 0 : -ENOMEM;
}

static void register_at_exit(void)
{
    if (cu_leak_check_at_exit() < 0)
        fputs("copper: COPPER_LEAKCHECK has no effect: out of memory\n", stderr);
}

/* Runs before constructors of the program itself, so that COPPER_LEAKCHECK=none reaches a linked
 * copper::leakcheck_at_exit. */
__attribute__((constructor)) static void read_environment(void)
{
    const char *value = secure_getenv("COPPER_LEAKCHECK");
    if (value == NULL || value[0] == '\0')
        return;
    if (strcmp(value, "none") == 0 || strcmp(value, "0") == 0) {
        is_forbidden = true;
    } else if (strcmp(value, "stranded") == 0 || strcmp(value, "1") == 0) {
        register_at_exit();
    } else {
        fprintf(stderr, "copper: COPPER_LEAKCHECK=%s is not one of stranded, none\n", value);
    }
}
