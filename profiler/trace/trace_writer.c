/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the thread behind the execution trace: rounds, and the cuts between generations.
 *
 * Design. A round merges the threads' records (trace_merge.h) up to a time read before, and adds
 * the CPU samples. A generation is cut when somebody waits for that (trace_clients.h), and when it
 * is long or large. As times of events may be a little behind the clock (cu_hooks_now), a round
 * leaves the last moment to the next one, or waits for it to pass where nobody else will come.
 *
 * Concurrency: everything here belongs to that thread. Threads of the host take no lock of it.
 */
#include "trace_writer.h"

#include "cpu_int.h"
#include "pages.h"
#include "trace_clients.h"
#include "trace_merge.h"
#include "trace_record.h"
#include "trace_samples.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <time.h>

#define GENERATION_NS    1000000000
#define GENERATION_BYTES (16u << 20) /* after which one is cut */
#define BEHIND_NS        20000      /* more than events are, and a reading done ahead of its turn */
#define NAMES_MAX        (1u << 17) /* stacks remembered */
#define HEAP_NS          100000000  /* how often the heap's size is told */

#pragma weak cu_maxprocs

static struct cu__model *model;
static struct cu__merge *merge;
static uint64_t generation;
static int64_t began_ns, told_heap_ns;
static int64_t drained_ns; /* all that happened until then is in the model */
static bool is_with_all;   /* this generation must mention everything */

/* ---- rounds ---------------------------------------------------------------------------------- */

/* As malloc counts; nothing where another allocator does not tell. */
static void tell_heap(int64_t now_ns)
{
    if (now_ns >= told_heap_ns + HEAP_NS) {
        struct mallinfo2 info = mallinfo2();
        told_heap_ns = now_ns;
        cu__model_heap(model, info.uordblks + info.hblkhd);
    }
}

/* Everything that happened until just now. */
static void drain(void)
{
    int64_t until = cu__now_ns() - BEHIND_NS;
    tell_heap(until);
    uint64_t lost = cu__merge_round(merge, until);
    if (lost) {
        cu__clients_lost(lost);
    }
    drained_ns = until;
    cu__trace_samples_take(model);
    cu__merge_free_gone(merge, until);
}

/* Everything that happened before the call. */
static void drain_all(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 2 * BEHIND_NS}, NULL);
    drain();
}

/* ---- generations ----------------------------------------------------------------------------- */

static void begin_generation(int64_t now_ns, bool is_first)
{
    began_ns = now_ns;
    is_with_all = cu__clients_begin() || is_first;
    cu__model_begin(model, ++generation, now_ns);
}

/* NULL: out of memory. */
static struct cu__blob *end_generation(int64_t now_ns)
{
    struct cu__blob *blob = calloc(1, sizeof(*blob));
    size_t n;
    unsigned char *bytes = cu__model_end(model, now_ns, is_with_all, &n);
    if (!blob || !bytes) {
        free(blob);
        cu__pages_unmap(bytes, n);
        return NULL;
    }
    atomic_store(&blob->references, 1);
    blob->bytes = bytes;
    blob->n = n;
    blob->began_ns = began_ns;
    blob->ended_ns = now_ns;
    blob->is_whole = is_with_all;
    if (cu__model_names(model)->stacks.nitems > NAMES_MAX) {
        cu__merge_replace_names(merge);
    }
    return blob;
}

/* At the time up to which all is known: what is written for the end of a generation must not come
 * after what happens next. */
static void cut(const struct cu__trace_asked *asked)
{
    int64_t now_ns = drained_ns;
    struct cu__blob *blob = end_generation(now_ns);
    struct cu__model_stats stats;
    cu__model_stats(model, &stats);
    cu__clients_deliver(blob, asked, &stats);
    cu__blob_drop(blob);
    begin_generation(now_ns, false);
}

static bool is_full(void)
{
    return cu__now_ns() - began_ns >= GENERATION_NS || cu__model_bytes(model) >= GENERATION_BYTES;
}

/* ---- the thread ------------------------------------------------------------------------------ */

static bool note_inspected(const struct cu_g_info *g, void *unused)
{
    (void)unused;
    cu__model_inspected(model, g);
    return true;
}

static int start_recording(void)
{
    cu_stacks_prepare();
    model = cu__model_new();
    merge = model ? cu__merge_new(model) : NULL;
    if (!merge) {
        return -ENOMEM;
    }
    int err = cu__trace_record_start();
    if (!err) {
        cu__model_procs(model, cu_maxprocs ? (uint64_t)cu_maxprocs() : 0);
        cu_inspect_each(note_inspected, NULL);
    }
    return err;
}

static void stop_recording(void)
{
    cu__trace_record_stop();
    cu__merge_free(merge);
    merge = NULL;
    cu__model_free(model);
    model = NULL;
    cu__trace_samples_clear();
    cu__trace_record_clear();
}

static void look_for_modules(uint32_t *epoch)
{
    if (cu_modules_epoch_sig() != *epoch) {
        *epoch = cu_modules_epoch_sig();
        cu_stacks_prepare();
    }
}

static void look_for_delays(void)
{
    struct cu__trace_asked asked;
    int64_t g, delay_ns = cu__trace_delay_take(&g);
    if (delay_ns == 0 || !cu__clients_want_late(&asked)) {
        return;
    }
    drain_all(); /* the end of the delay may have come after the last look */
    cut(&asked);
    cu__clients_late(g, delay_ns);
}

static void record(void)
{
    uint32_t epoch = cu_modules_epoch_sig();
    struct cu__trace_asked asked;
    begin_generation(cu__now_ns(), true);
    while (cu__clients_want(&asked)) {
        look_for_modules(&epoch);
        if (asked.is_cut) {
            drain_all();
        } else {
            drain();
        }
        if (asked.is_cut || is_full()) {
            cut(&asked);
        }
        look_for_delays();
        cu__clients_wait();
    }
}

void *cu__write_trace(void *unused)
{
    cu__own_thread_begin("copper-trace");
    int err = start_recording();
    if (err) {
        cu__clients_fail(err);
    } else {
        record();
    }
    stop_recording();
    cu__clients_ended();
    return unused;
}

void cu__write_trace_forget(void)
{
    model = NULL;
    merge = NULL;
}
