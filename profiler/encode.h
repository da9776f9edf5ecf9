/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what the encoder offers besides profiles.h.
 */
#ifndef COPPER_ENCODE_H
#define COPPER_ENCODE_H

#include "profiles.h"

/* A sample whose stack is not known: the stand-in for state is its one frame. */
int cu__encoder_stand_in(struct cu__encoder *e, const char *state, const int64_t *values,
                         const struct cu_pprof_label *labels, size_t nlabels);

/* A sample with the stand-in for state as its leaf, below which are these frames. */
int cu__encoder_stand_in_on(struct cu__encoder *e, const char *state, const cu_frame *frames,
                            unsigned nframes, const int64_t *values,
                            const struct cu_pprof_label *labels, size_t nlabels);

/* The share (0 to 1) of the samples' last value whose leaf frame no symbol covers. */
double cu__encoder_unnamed_share(const struct cu__encoder *e);

#endif
