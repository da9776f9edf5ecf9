/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose. Read options from programs built against this header or an older, shorter one.
 */
#include "leak_int.h"

#include <errno.h>
#include <string.h>

/* The first header had everything up to ignore_current. */
#define SIZE_MIN sizeof(struct cu_leak_options)

int cu__leak_options_read(const struct cu_leak_options *given, struct cu_leak_options *out)
{
    *out = (struct cu_leak_options){COPPER_LEAK_OPTIONS};
    if (given == NULL)
        return 0;
    if (given->size < SIZE_MIN || given->timeout_ns < 0)
        return -EINVAL;
    memcpy(out, given, sizeof *out);
    return 0;
}
