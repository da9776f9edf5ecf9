/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what the encoder offers besides profiles.h.
 */
#ifndef COPPER_ENCODE_H
#define COPPER_ENCODE_H

#include "profiles.h"

/* The share (0 to 1) of the samples' last value whose leaf frame no symbol covers. */
double cu__encoder_unnamed_share(const struct cu__encoder *e);

#endif
