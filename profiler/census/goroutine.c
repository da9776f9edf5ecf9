/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the `goroutine` profile: every coroutine, or without the runtime every thread, counted
 * by stack and labels; with ?detail=1 one sample for each, with its id and how long it has waited.
 * The text forms are in goroutine_text.c.
 *
 * Design. A census groups first, then each group's stack is named once.
 */
#include "census.h"
#include "encode.h"
#include "named.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int64_t cu__wall_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

uint32_t cu__stand_in_location(struct cu_pprof *p, const char *state)
{
    uint64_t address = cu__stand_in_address(state);
    uint32_t mapping = cu_pprof_mapping(p, &(struct cu_pprof_mapping){
                                               .start = COPPER_STAND_IN_START,
                                               .limit = COPPER_STAND_IN_LIMIT,
                                               .filename = "[no stack]",
                                               .has_functions = true,
                                           });
    uint32_t function =
        cu_pprof_function(p, &(struct cu_pprof_function){.name = cu__stand_in_name(address)});
    return cu_pprof_location(p, mapping, address, &(struct cu_pprof_line){.function = function}, 1);
}

/* One sample: a group with its count, or one member of it. */
static int add_sample(struct cu__encoder *e, const struct cu__census *c, uint32_t number,
                      const struct cu__census_member *member)
{
    const struct cu__census_group *g = cu__census_group(c, number);
    struct cu__group_labels found;
    struct cu_pprof_label labels[COPPER_GROUP_LABELS_MAX + 2];
    char id[24];
    size_t nlabels = 0;
    cu__census_labels(c, g, &found);
    for (unsigned i = 0; i < found.n; i++) {
        const char *key = found.at[i].key;
        bool is_ours = member && (strcmp(key, "id") == 0 || strcmp(key, "age") == 0);
        if (!is_ours) { /* a key has one value, of one type */
            labels[nlabels++] = (struct cu_pprof_label){.key = key, .str = found.at[i].value};
        }
    }
    int64_t value = (int64_t)c->groups.counts[number];
    if (member) {
        snprintf(id, sizeof(id), "%lld", (long long)member->id);
        labels[nlabels++] = (struct cu_pprof_label){.key = "id", .str = id};
        labels[nlabels++] =
            (struct cu_pprof_label){.key = "age", .num = member->waiting_ns, .unit = "nanoseconds"};
        value = 1;
    }
    unsigned n;
    const cu_frame *frames = cu__census_stack(c, g->stack, &n);
    if (n > 0) {
        return cu__encoder_sample(e, frames, n, &value, labels, nlabels);
    }
    return cu__encoder_stand_in(e, g->state, &value, labels, nlabels);
}

int cu__goroutine_profile(const struct cu__named_options *options, struct cu_pprof **out)
{
    struct cu__census c;
    struct cu__encoder *e = NULL;
    uint32_t *order = NULL;
    int64_t taken_ns = cu__wall_ns();
    int err =
        cu__census_take(&c, (struct cu__census_options){.with_threads = options->with_threads,
                                                        .with_members = options->is_detailed});
    if (!err) {
        order = cu__census_order(&c);
        e = cu__encoder_new();
        err = order && e ? 0 : -ENOMEM;
    }
    if (!err) {
        struct cu_pprof *p = cu__encoder_profile(e);
        cu_pprof_sample_type(p, "goroutine", "count");
        cu_pprof_period(p, "goroutine", "count", 1);
        cu_pprof_time(p, taken_ns, 0);
    }
    for (uint32_t i = 0; !err && !options->is_detailed && i < c.groups.kinds.nitems; i++) {
        err = add_sample(e, &c, order[i], NULL);
    }
    for (size_t i = 0; !err && options->is_detailed && i < c.nmembers; i++) {
        err = add_sample(e, &c, c.members[i].group, &c.members[i]);
    }
    struct cu_pprof *p = e ? cu__encoder_finish(e) : NULL;
    free(order);
    cu__census_clear(&c);
    if (err) {
        cu_pprof_free(p);
        return err;
    }
    *out = p;
    return p ? 0 : -ENOMEM;
}
