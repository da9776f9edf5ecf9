/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see duration.h.
 */
#include "duration.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

int cu__parse_duration(const char *text, int64_t *ns)
{
    static const struct {
        const char *name;
        double ns;
    } units[] = {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}};
    double value = 0, place = 1;
    const char *at = text;
    size_t digits = 0;
    for (; *at >= '0' && *at <= '9'; at++, digits++) {
        value = value * 10 + (*at - '0');
    }
    if (*at == '.') {
        for (at++; *at >= '0' && *at <= '9'; at++, digits++) {
            place /= 10;
            value += (*at - '0') * place;
        }
    }
    if (digits == 0) {
        return -EINVAL;
    }
    if (*at == '\0') {
        return -EDOM;
    }
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(at, units[i].name) == 0 && value * units[i].ns < 9e18) {
            *ns = (int64_t)(value * units[i].ns + 0.5);
            return 0;
        }
    }
    return -EINVAL;
}
