/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: times and sizes as users write them: "10s", "1.5h", "64MiB".
 */
#ifndef COPPER_UNITS_H
#define COPPER_UNITS_H

#include <stdint.h>

/* A number with one of the units ns, us, ms, s, m, h. 0; -EDOM: there is no unit; -EINVAL. Accepts
 * any input. */
int cu__parse_duration(const char *text, int64_t *ns);
/* The same with one of the units KiB, MiB, GiB. */
int cu__parse_size(const char *text, int64_t *bytes);

#endif
