/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what the text of trace_perfetto.h is made from, and the parts that write it.
 *
 * Who does what: trace_perfetto.c follows the states of coroutines and P, event by event;
 * trace_perfetto_kept.c finds and keeps what lives meanwhile, and names it; trace_perfetto_tracks.c
 * writes what lies on the tracks: slices, flows, counters; trace_perfetto_notes.c what is said
 * beside the states: tasks, regions, logs, labels, numbers.
 *
 * Concurrency: one thread at a time. A failure is sticky: nothing is written after it.
 */
#ifndef COPPER_TRACE_PERFETTO_INT_H
#define COPPER_TRACE_PERFETTO_INT_H

#include "trace_items.h"
#include "trace_json.h"
#include "trace_model.h"
#include "trace_perfetto.h"
#include "trace_read.h"

#define COPPER_PERFETTO_PLACES      (COPPER_TRACE_SPARE_P + 1) /* P */
#define COPPER_PERFETTO_NO_CALL     INT64_MIN
#define COPPER_PERFETTO_FIRST_TRACK 1u /* the track number of P 0 */

struct cu__perfetto_place {
    bool is_named, is_open;
    bool is_from_before; /* it ran when the trace began */
    uint64_t g;
    int64_t began_ns, ready_ns;
    int64_t call_ns;     /* when the call began that g is in; COPPER_PERFETTO_NO_CALL: in none */
    uint32_t call_stack; /* interned text */
};

struct cu__perfetto_thread {
    uint64_t p; /* number + 1; 0: none */
    uint64_t g;
};

struct cu__perfetto {
    struct cu__json out;
    struct cu__trace_reader in;
    int64_t now_ns, counted_ns;
    uint64_t last_flow;
    uint32_t counts[COPPER_WIRE_G_COUNT];
    bool is_count_due;
    struct cu__trace_items items;
    struct cu__interner texts, thread_ids;
    struct cu__perfetto_place places[COPPER_PERFETTO_PLACES];
    struct cu__perfetto_thread *threads; /* by number of thread_ids */
    uint32_t threads_cap;
};

/* ---- what is kept ---------------------------------------------------------------------------- */

static inline void cu__perfetto_fail(struct cu__perfetto *x, int err)
{
    cu__json_fail(&x->out, err);
}

/* A live coroutine or an open task. NULL: not known. */
static inline struct cu__trace_item *cu__perfetto_find(const struct cu__perfetto *x, uint64_t key)
{
    return cu__trace_item_find(&x->items, key);
}

/* Known or new. NULL: the failure is noted. */
struct cu__trace_item *cu__perfetto_get(struct cu__perfetto *x, uint64_t key);
struct cu__perfetto_thread *cu__perfetto_thread_of(struct cu__perfetto *x, uint64_t tid);

/* The P of a thread; NULL: none. */
static inline struct cu__perfetto_place *cu__perfetto_place_of(struct cu__perfetto *x,
                                                               const struct cu__perfetto_thread *m)
{
    return m->p && m->p <= COPPER_PERFETTO_PLACES ? &x->places[m->p - 1] : NULL;
}

static inline uint64_t cu__perfetto_track_of(const struct cu__perfetto *x,
                                             const struct cu__perfetto_place *p)
{
    return (uint64_t)(p - x->places) + COPPER_PERFETTO_FIRST_TRACK;
}

/* The number of a text; COPPER_INTERN_NONE: it is empty. And the text. */
uint32_t cu__perfetto_intern(struct cu__perfetto *x, const void *bytes, size_t n);
void cu__perfetto_put_text(struct cu__perfetto *x, uint32_t number);
/* Calls a coroutine by the outermost function of its first stack. Returns the stack as a text. */
uint32_t cu__perfetto_learn(struct cu__perfetto *x, uint64_t key, uint64_t stack);

/* ---- tracks ---------------------------------------------------------------------------------- */

void cu__perfetto_name_track(struct cu__perfetto *x, struct cu__perfetto_place *p);
/* The numbers as they were after the event before, when some time has passed. */
void cu__perfetto_count(struct cu__perfetto *x, int64_t next_ns);
void cu__perfetto_begin_slice(struct cu__perfetto *x, struct cu__perfetto_place *p,
                              struct cu__trace_item *g);
/* end: why it stops, a plain text of ours or of the recorder. Nothing where p is NULL or empty. */
void cu__perfetto_end_slice(struct cu__perfetto *x, struct cu__perfetto_place *p,
                            struct cu__span end, uint32_t stack);
/* The call within the slice, if there is one. */
void cu__perfetto_end_call(struct cu__perfetto *x, struct cu__perfetto_place *p);
/* An arrow from what runs on m to where g will start. */
void cu__perfetto_begin_flow(struct cu__perfetto *x, const struct cu__perfetto_thread *m,
                             struct cu__trace_item *g, bool is_spawn);

/* ---- what is said beside the states ---------------------------------------------------------- */

void cu__perfetto_note(struct cu__perfetto *x, const struct cu__perfetto_thread *m,
                       const struct cu__trace_event *e);

#endif
