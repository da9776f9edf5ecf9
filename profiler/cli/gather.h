/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: adds the windows of a recording, or what totals came to, up to one profile. Samples add up as in any merge; the
 * comments do not: each window has its own lines about cost and losses, and an hour has thousands of
 * windows. What was lost is summed and said once.
 */
#ifndef COPPER_CLI_GATHER_H
#define COPPER_CLI_GATHER_H

#include <copper/pprof.h>

struct cu__gathered {
    struct cu_pprof *profile; /* NULL: nothing yet */
    struct cu_pprof *base, *latest; /* of totals; NULL: nothing */
    int64_t latest_begin_wall_ns;   /* ... since when */
    unsigned windows;
    int64_t start_wall_ns, duration_ns;
    uint64_t dropped_ns, dropped, cut_ns, sampled_ns; /* of the windows' "incomplete" lines */
};

/* 0 or -errno; -EINVAL: the sample types differ. */
int cu__gather(struct cu__gathered *g, const struct cu_pprof *window);
/* Of a process that answers with all there is since its start: base (NULL: nothing) is what does not
 * count, and of the totals that come the last one does. Both are taken over. */
void cu__gather_begin_totals(struct cu__gathered *g, struct cu_pprof *base);
void cu__gather_total(struct cu__gathered *g, struct cu_pprof *total);
/* Adds what the totals came to, since the process has ended or became another program. As cu__gather. */
int cu__gather_end_totals(struct cu__gathered *g);
/* Writes the header fields and the comments. lost: windows that are missing. */
void cu__gather_finish(struct cu__gathered *g, unsigned lost);
void cu__gather_free(struct cu__gathered *g);

#endif
