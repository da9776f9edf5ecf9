/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the profiles that are a list of stacks with a count (goroutine, threadcreate, ...): how
 * they are made, and the text layouts that are Go's.
 *
 * `make` collects one profile as it is now. `text` writes its debug=1 (and up) form. Both know no
 * HTTP but the answer they write to.
 */
#ifndef COPPER_NAMED_H
#define COPPER_NAMED_H

#include "http_answer.h"
#include "profiles.h"

#include <copper/pprof.h>
#include <stdbool.h>
#include <stdint.h>

/* Options of a request, parsed. */
struct cu__named_options {
    int64_t debug;
    bool with_threads; /* goroutine: threads beside coroutines */
    bool is_detailed;  /* goroutine: a sample for each, with labels id and age */
    bool is_total;     /* at a window's end all that there is, not what changed in it */
};

typedef int cu__named_make(const struct cu__named_options *options, struct cu_pprof **out);
typedef int cu__named_text(const struct cu__named_options *options, struct cu__answer *a);

cu__named_make cu__goroutine_profile;
cu__named_text cu__goroutine_text;
cu__named_make cu__threadcreate_profile;
cu__named_text cu__threadcreate_text;
cu__named_make cu__heap_profile;
cu__named_make cu__allocs_profile;
cu__named_text cu__heap_text;
/* For the index page: sites seen. */
uint64_t cu__heap_count(void);

/* Opens (true) and closes the window in which a profile counts, for ?seconds=. 0 or -errno. */
typedef int cu__named_window(bool is_open);

#define COPPER_DELAY_DECLARE(name)                                                                 \
    cu__named_make cu__##name##_profile;                                                           \
    cu__named_text cu__##name##_text;                                                              \
    cu__named_window cu__##name##_window;                                                          \
    uint64_t cu__##name##_count(void);
COPPER_DELAY_DECLARE(block)
COPPER_DELAY_DECLARE(mutex)
COPPER_DELAY_DECLARE(schedule)
COPPER_DELAY_DECLARE(hog)
#undef COPPER_DELAY_DECLARE

/* Writes one record of a count profile: "3 @ 0x...", labels, a comment line for each frame, and an
 * empty line. No frames: the stand-in for state. */
struct cu__text_record {
    uint64_t count;
    const char *lead; /* in place of the count; may be NULL */
    const cu_frame *frames;
    unsigned nframes;
    const char *state;
    const char *labels; /* "{...}" or NULL */
};
void cu__text_record(struct cu__answer *a, struct cu_symbolizer *symbols,
                     const struct cu__text_record *record);

/* The rest of a record's line after '@', and the comment lines of its stack, labels before them, an
 * empty line after. */
void cu__text_stack(struct cu__answer *a, struct cu_symbolizer *symbols, const cu_frame *frames,
                    unsigned nframes, const char *state, const char *labels);

/* The one location of a stack that is not known. */
uint32_t cu__stand_in_location(struct cu_pprof *p, const char *state);

/* Wall-clock time for cu_pprof_time. */
int64_t cu__wall_ns(void);

#endif
