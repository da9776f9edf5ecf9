/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: stand-ins for what makes profiles, behind the line at which HTTP ends (profiles.h,
 * named.h, census.h): they work, fail early, late or halfway, as the input says.
 */
#include "fuzz_http.h"

#include "census.h"
#include "custom.h"
#include "kernel_threads.h"
#include "named.h"
#include "routes.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MUCH 3000 /* lines or samples */

/* counted here, so that a window left open is seen */
void cu__window_begin(void);
void cu__window_end(void);
void cu__window_opened(void);
bool cu__is_finishing(void);

static unsigned calls;
static int open_windows;

void fuzz_makers_reset(void)
{
    calls = 0;
}

static struct cu_pprof *make(const char *type)
{
    struct cu_pprof *p = cu_pprof_new();
    if (!p)
        return NULL;
    cu_pprof_sample_type(p, type, "count");
    cu_pprof_time(p, 1000 * calls, 0);
    unsigned n = fuzz_switches.maker == FUZZ_MAKER_MAKES_MUCH ? MUCH : 2;
    for (unsigned i = 0; i < n; i++) {
        uint32_t l = cu_pprof_location(p, 0, i * 0x9e3779b97f4a7c15u, NULL, 0);
        cu_pprof_sample(p, &(struct cu_pprof_sample){
                               .locations = &l, .nlocations = 1, .values = &(int64_t){i * calls}});
    }
    if (fuzz_switches.maker == FUZZ_MAKER_IS_BROKEN)
        cu_pprof_location(p, 99, 1, NULL, 0);
    return p;
}

static int make_named(struct cu_pprof **out)
{
    enum fuzz_maker maker = fuzz_switches.maker;
    calls++;
    if (maker == FUZZ_MAKER_FAILS || maker == FUZZ_MAKER_FAILS_SILENTLY ||
        (maker == FUZZ_MAKER_FAILS_SECOND && calls == 2))
        return -ENOMEM;
    *out = make(maker == FUZZ_MAKER_CHANGES_TYPE && calls == 2 ? "other" : "n");
    return *out ? 0 : -ENOMEM;
}

static int write_named(const struct cu__named_options *options, struct cu__answer *a)
{
    if (fuzz_switches.maker == FUZZ_MAKER_FAILS)
        return -ENOMEM;
    if (!cu__answer_begin(a, COPPER_TYPE_TEXT, NULL))
        return 0;
    unsigned n = fuzz_switches.maker == FUZZ_MAKER_MAKES_MUCH ? MUCH : 2;
    for (unsigned i = 0; i < n; i++)
        cu__answer_printf(a, "%u @ 0x%x debug=%d\n", i, i, (int)options->debug);
    return fuzz_switches.maker == FUZZ_MAKER_FAILS_MIDWAY ? -EIO : 0;
}

int cu__goroutine_profile(const struct cu__named_options *options, struct cu_pprof **out)
{
    (void)options;
    return make_named(out);
}

int cu__goroutine_text(const struct cu__named_options *options, struct cu__answer *a)
{
    return write_named(options, a);
}

int cu__threadcreate_profile(const struct cu__named_options *options, struct cu_pprof **out)
{
    (void)options;
    return make_named(out);
}

int cu__threadcreate_text(const struct cu__named_options *options, struct cu__answer *a)
{
    return write_named(options, a);
}

int cu__heap_profile(const struct cu__named_options *options, struct cu_pprof **out)
{
    (void)options;
    return make_named(out);
}

int cu__allocs_profile(const struct cu__named_options *options, struct cu_pprof **out)
{
    (void)options;
    return make_named(out);
}

int cu__heap_text(const struct cu__named_options *options, struct cu__answer *a)
{
    return write_named(options, a);
}

uint64_t cu__heap_count(void)
{
    return 17;
}

/* A client that leaves does not make it fail: the profile ends early. */
int cu__cpu_profile(int64_t duration_ns, int hz, cu__is_gone_fn *is_gone, void *ctx,
                    struct cu_pprof **out, char error[COPPER_ERROR_MAX])
{
    if (duration_ns <= 0 || hz < 0)
        __builtin_trap(); /* the routes let through what they must not */
    calls++;
    for (int i = 0; i < 10 && !is_gone(ctx); i++)
        ;
    if (fuzz_switches.maker == FUZZ_MAKER_FAILS) {
        snprintf(error, COPPER_ERROR_MAX, "no timers for %d Hz", hz);
        return -EAGAIN;
    }
    if (fuzz_switches.maker == FUZZ_MAKER_FAILS_SILENTLY)
        return -ENOMEM;
    *out = make("cpu");
    return *out ? 0 : -ENOMEM;
}

void cu__window_begin(void)
{
    open_windows++;
}

void cu__window_end(void)
{
    open_windows--;
}

void cu__window_opened(void)
{
    if (open_windows < 1)
        __builtin_trap();
}

bool cu__is_finishing(void)
{
    return false;
}

int fuzz_makers_open_windows(void)
{
    return open_windows;
}

uint64_t cu__census_count(void)
{
    return 4711;
}

unsigned cu__threads_count(void)
{
    return 42;
}

void cu__self_report(void (*line)(void *ctx, const char *text), void *ctx)
{
    line(ctx, "cost < 1 % & falling > slowly");
}

const char *cu__stand_in_name(uint64_t address)
{
    return address >= COPPER_STAND_IN_START && address < COPPER_STAND_IN_LIMIT ? "[parked]" : NULL;
}

struct cu_profile {
    const char *name;
};
static const struct cu_profile custom = {"my.own"};

const struct cu_profile *cu__custom_find(const char *name)
{
    return strcmp(name, custom.name) == 0 ? &custom : NULL;
}

size_t cu__custom_list(const struct cu_profile *out[COPPER_CUSTOM_MAX])
{
    out[0] = &custom;
    return 1;
}

const char *cu__custom_name(const struct cu_profile *p)
{
    return p->name;
}

uint64_t cu__custom_count(const struct cu_profile *p)
{
    return strlen(p->name);
}

int cu__custom_profile(const struct cu_profile *p, struct cu_pprof **out)
{
    (void)p;
    return make_named(out);
}

int cu__custom_text(const struct cu_profile *p, struct cu__answer *a)
{
    (void)p;
    return write_named(&(struct cu__named_options){.debug = 1}, a);
}

void cu__serve_trace(struct cu__answer *a)
{
    if (fuzz_switches.maker == FUZZ_MAKER_FAILS_SILENTLY)
        cu__answer_error(a, 500, "Could not enable tracing: no reason");
    else if (a->request->query && strstr(a->request->query, "format=perfetto")) {
        if (cu__answer_begin(a, COPPER_TYPE_JSON, "trace.json"))
            cu__answer_printf(a, "{\"traceEvents\":[]}");
    } else if (cu__answer_begin(a, COPPER_TYPE_BINARY, "trace"))
        cu__answer_printf(a, "go 1.22 trace");
}

void cu__serve_wall(struct cu__answer *a)
{
    if (cu__answer_begin(a, COPPER_TYPE_BINARY, "wall"))
        cu__answer_printf(a, "wall");
}

void cu__serve_fgprof(struct cu__answer *a)
{
    if (cu__answer_begin(a, COPPER_TYPE_BINARY, "fgprof"))
        cu__answer_printf(a, "fgprof");
}

void cu__serve_metrics(struct cu__answer *a)
{
    if (cu__answer_begin(a, COPPER_TYPE_TEXT, NULL))
        cu__answer_printf(a, "up 1\n");
}

#define COPPER_FUZZ_DELAY(name)                                                                    \
    int cu__##name##_profile(const struct cu__named_options *options, struct cu_pprof **out)       \
    {                                                                                              \
        (void)options;                                                                             \
        return make_named(out);                                                                    \
    }                                                                                              \
    int cu__##name##_text(const struct cu__named_options *options, struct cu__answer *a)           \
    {                                                                                              \
        return write_named(options, a);                                                            \
    }                                                                                              \
    int cu__##name##_window(bool is_open)                                                          \
    {                                                                                              \
        if (is_open && fuzz_switches.maker == FUZZ_MAKER_FAILS_SILENTLY)                           \
            return -ENOTSUP;                                                                       \
        open_windows += is_open ? 1 : -1;                                                          \
        return 0;                                                                                  \
    }                                                                                              \
    uint64_t cu__##name##_count(void)                                                              \
    {                                                                                              \
        return 3;                                                                                  \
    }
COPPER_FUZZ_DELAY(block)
COPPER_FUZZ_DELAY(mutex)
COPPER_FUZZ_DELAY(schedule)
COPPER_FUZZ_DELAY(hog)
