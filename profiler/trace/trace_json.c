/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see trace_json.h.
 */
#include "trace_json.h"

#include "quote.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void cu__json_fail(struct cu__json *j, int err)
{
    j->err = j->err ? j->err : err;
}

void cu__json_flush(struct cu__json *j)
{
    if (j->n && !j->err) {
        cu__json_fail(j, j->sink(j->arg, j->buffer, j->n));
    }
    j->n = 0;
}

static void put(struct cu__json *j, const char *bytes, size_t n)
{
    if (j->n + n > sizeof(j->buffer)) {
        cu__json_flush(j);
    }
    memcpy(j->buffer + j->n, bytes, n); /* n is small */
    j->n += n;
}

void cu__json_say(struct cu__json *j, const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    put(j, line, n < (int)sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

void cu__json_text(struct cu__json *j, const void *bytes, size_t n)
{
    const unsigned char *s = bytes;
    for (size_t at = 0, step; at < n; at += step) {
        step = cu__utf8_sequence(s + at, n - at);
        if (step == 0) {
            step = 1;
            put(j, "\\ufffd", 6);
        } else if (s[at] == '"' || s[at] == '\\') {
            put(j, "\\", 1);
            put(j, (const char *)s + at, 1);
        } else if (s[at] < 0x20 || s[at] == 0x7f) {
            cu__json_say(j, "\\u%04x", s[at]);
        } else {
            put(j, (const char *)s + at, step);
        }
    }
}

void cu__json_event(struct cu__json *j, char phase, uint64_t track, int64_t ns)
{
    cu__json_say(j, "%s{\"ph\":\"%c\",\"pid\":%d,\"tid\":%llu,\"ts\":%lld.%03d",
                 j->has_begun ? ",\n" : "", phase, (int)getpid(), (unsigned long long)track,
                 (long long)(ns / 1000), (int)(ns % 1000));
    j->has_begun = true;
}

void cu__json_duration(struct cu__json *j, const char *name, int64_t ns)
{
    cu__json_say(j, ",\"%s\":%lld.%03d", name, (long long)(ns / 1000), (int)(ns % 1000));
}
