/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: copper/trace.h: traces to files and callbacks; tasks, regions, logs.
 *
 * Concurrency: a trace's file and error belong to the recorder's thread until it is stopped.
 */
#include "trace_file.h"
#include "trace_record.h"
#include "trace_wire.h"
#include "trace_clients.h"

#include <copper/pprof.h>
#include <copper/trace.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct cu_trace {
    struct cu__trace_client *client;
    cu_trace_sink *sink;
    void *arg;
    struct cu_pprof_file *file; /* NULL: none */
};

static int to_sink(void *trace, const void *bytes, size_t n)
{
    struct cu_trace *t = trace;
    return t->sink(t->arg, bytes, n);
}

static int start(const struct cu_trace *wanted, cu__trace_sink *sink, struct cu_trace **out)
{
    struct cu_trace *t = malloc(sizeof(*t));
    if (!t) {
        return -ENOMEM;
    }
    *t = *wanted;
    int err = sink(t, COPPER_WIRE_HEADER, COPPER_WIRE_HEADER_BYTES);
    if (!err) {
        err = cu__trace_join(sink, t, &t->client);
    }
    if (err) {
        free(t);
        return err;
    }
    *out = t;
    return 0;
}

int cu_trace_start(cu_trace_sink *sink, void *arg, struct cu_trace **out)
{
    return start(&(struct cu_trace){.sink = sink, .arg = arg}, to_sink, out);
}

int cu_trace_start_file(const char *path, struct cu_trace **out)
{
    if (!cu__trace_can_record()) {
        return -ENOTSUP; /* before a file is made for nothing */
    }
    struct cu_pprof_file *file;
    int err = cu_pprof_file_open(path, false, &file);
    if (!err) {
        err = start(&(struct cu_trace){.sink = cu_pprof_file_write, .arg = file, .file = file},
                    to_sink, out);
        if (err) {
            cu_pprof_file_close(file, err);
        }
    }
    return err;
}

int cu_trace_stop(struct cu_trace *t)
{
    int err = cu__trace_finish(t->client);
    cu__trace_leave(t->client);
    if (t->file) {
        err = cu_pprof_file_close(t->file, err);
    }
    free(t);
    return err;
}

void cu_trace_stats_read(struct cu_trace_stats *out)
{
    struct cu__trace_totals totals;
    cu__trace_totals(&totals);
    *out = (struct cu_trace_stats){.size = sizeof(*out),
                                   .events = totals.events,
                                   .mended = totals.mended,
                                   .dropped = totals.dropped,
                                   .lost = totals.lost,
                                   .generations = totals.generations,
                                   .bytes = totals.bytes};
}

/* ---- tasks, regions, logs -------------------------------------------------------------------- */

static _Atomic uint64_t last_task;

static struct cu__trace_text text_of(const char *text)
{
    return (struct cu__trace_text){text ? text : "",
                                   text ? strnlen(text, COPPER_TRACE_TEXT_MAX) : 0};
}

uint64_t cu_trace_task_begin(const char *name, uint64_t parent)
{
    uint64_t task = atomic_fetch_add_explicit(&last_task, 1, memory_order_relaxed) + 1;
    if (cu__trace_is_on()) {
        struct cu__trace_text text = text_of(name);
        cu__trace_note(COPPER_TRACE_TASK_BEGIN, (uint64_t[]){task, parent, text.n}, 3, &text, 1);
    }
    return task;
}

void cu_trace_task_end(uint64_t task)
{
    if (cu__trace_is_on()) {
        cu__trace_note(COPPER_TRACE_TASK_END, &task, 1, NULL, 0);
    }
}

static void note_region(enum cu__trace_kind kind, uint64_t task, const char *name)
{
    struct cu__trace_text text = text_of(name);
    cu__trace_note(kind, (uint64_t[]){task, text.n}, 2, &text, 1);
}

void cu_trace_region_begin(uint64_t task, const char *name)
{
    if (cu__trace_is_on()) {
        note_region(COPPER_TRACE_REGION_BEGIN, task, name);
    }
}

void cu_trace_region_end(uint64_t task, const char *name)
{
    if (cu__trace_is_on()) {
        note_region(COPPER_TRACE_REGION_END, task, name);
    }
}

void cu_trace_log(uint64_t task, const char *key, const char *text)
{
    if (cu__trace_is_on()) {
        struct cu__trace_text texts[] = {text_of(key), text_of(text)};
        cu__trace_note(COPPER_TRACE_LOG, (uint64_t[]){task, texts[0].n | texts[1].n << 16}, 2,
                       texts, 2);
    }
}
