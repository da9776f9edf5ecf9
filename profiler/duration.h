/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: times as users write them: "10s", "5ms", "1.5h".
 */
#ifndef COPPER_DURATION_H
#define COPPER_DURATION_H

#include <stdint.h>

/* A number with one of the units ns, us, ms, s, m, h. 0; -EDOM: there is no unit; -EINVAL. Accepts
 * any input. */
int cu__parse_duration(const char *text, int64_t *ns);

#endif
