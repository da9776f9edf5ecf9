/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the trace event format as text: events of a JSON array, to a sink. Knows nothing of what
 * events mean.
 *
 * Use: an event is begun by cu__json_event, and its members after `ts` are said by the caller, down
 * to the closing brace. Texts of the program pass through cu__json_text.
 *
 * Concurrency: one thread at a time. A failure is sticky: nothing reaches the sink after it.
 */
#ifndef COPPER_TRACE_JSON_H
#define COPPER_TRACE_JSON_H

#include "trace_clients.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cu__json {
    cu__trace_sink *sink;
    void *arg;
    int err; /* -errno, or what the sink said */
    bool has_begun;
    size_t n;
    char buffer[32768];
};

void cu__json_fail(struct cu__json *j, int err);
/* Gives what is buffered to the sink. */
void cu__json_flush(struct cu__json *j);
/* At most 511 bytes. */
__attribute__((format(printf, 2, 3))) void cu__json_say(struct cu__json *j, const char *format,
                                                        ...);
/* The inside of a JSON string. What is no UTF-8 becomes U+FFFD. */
void cu__json_text(struct cu__json *j, const void *bytes, size_t n);
/* {"ph":...,"pid":...,"tid":...,"ts":... of an event; the caller goes on after it. */
void cu__json_event(struct cu__json *j, char phase, uint64_t track, int64_t ns);
/* A member: a time in microseconds. */
void cu__json_duration(struct cu__json *j, const char *name, int64_t ns);

#endif
