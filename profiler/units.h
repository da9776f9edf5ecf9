/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: times, sizes and shares as users write them, in every locale: "10s", "1.5h", "64MiB", "1%".
 */
#ifndef COPPER_UNITS_H
#define COPPER_UNITS_H

#include <stdint.h>

/* A number with one of the units ns, us, ms, s, m, h. 0; -EDOM: there is no unit; -EINVAL. Accepts
 * any input. */
int cu__parse_duration(const char *text, int64_t *ns);
/* The same with one of the units KiB, MiB, GiB. */
int cu__parse_size(const char *text, int64_t *bytes);
/* A share: "1%", "0.5%", "0.01"; more than nothing, at most all. 0 or -EINVAL. */
int cu__parse_share(const char *text, double *share);

#endif
