/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see events.h.
 */
#include "events.h"

#include <stdio.h>
#include <string.h>

static const struct cu__event events[] = {
#define COPPER_EVENT(name, path, type, is_total, what) {name, path, type, is_total, what},
    COPPER_CLI_EVENTS(COPPER_EVENT)
#undef COPPER_EVENT
};

const struct cu__event *cu__event_find(const char *name)
{
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++) {
        if (strcmp(events[i].name, name) == 0) {
            return &events[i];
        }
    }
    return NULL;
}

bool cu__event_is_trace(const struct cu__event *event)
{
    return event->type[0] == '\0';
}

const char *cu__event_names(void)
{
    static char names[128];
    if (names[0] == '\0') {
        for (size_t i = 0, n = 0; i < sizeof events / sizeof events[0]; i++) {
            n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "",
                                  events[i].name);
        }
    }
    return names;
}

size_t cu__value_index(const struct cu_pprof *p, const char *wanted)
{
    size_t n = cu_pprof_nsample_types(p);
    for (size_t i = 0; i < n; i++) {
        const char *type, *unit;
        cu_pprof_sample_type_at(p, i, &type, &unit);
        if (strcmp(type, wanted) == 0) {
            return i;
        }
    }
    return n - 1;
}

void cu__value_text(int64_t value, const char *unit, char *out, size_t size)
{
    static const char *const multiples[] = {"B", "kB", "MB", "GB", "TB"};
    if (strcmp(unit, "nanoseconds") == 0) {
        snprintf(out, size, "%.2fs", (double)value / 1e9);
        return;
    }
    if (strcmp(unit, "bytes") != 0) {
        snprintf(out, size, "%lld", (long long)value);
        return;
    }
    double amount = (double)value;
    size_t i = 0;
    while ((amount >= 1024 || amount <= -1024) && i + 1 < sizeof multiples / sizeof multiples[0]) {
        amount /= 1024;
        i++;
    }
    snprintf(out, size, i ? "%.2f%s" : "%.0f%s", amount, multiples[i]);
}
