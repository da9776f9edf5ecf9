/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see units.h.
 */
#include "units.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

struct unit {
    const char *name;
    double factor;
};

/* Digits with an optional point; the rest is left at *at. */
static int parse_number(const char **at, double *value)
{
    size_t digits = 0;
    double place = 1;
    *value = 0;
    for (; **at >= '0' && **at <= '9'; (*at)++, digits++) {
        *value = *value * 10 + (**at - '0');
    }
    if (**at == '.') {
        for ((*at)++; **at >= '0' && **at <= '9'; (*at)++, digits++) {
            place /= 10;
            *value += (**at - '0') * place;
        }
    }
    return digits > 0 ? 0 : -EINVAL;
}

static int parse(const char *text, const struct unit *units, size_t n, int64_t *out)
{
    double value;
    int err = parse_number(&text, &value);
    if (err) {
        return err;
    }
    if (*text == '\0') {
        return -EDOM;
    }
    for (size_t i = 0; i < n; i++) {
        if (strcmp(text, units[i].name) == 0 && value * units[i].factor < 9e18) {
            *out = (int64_t)(value * units[i].factor + 0.5);
            return 0;
        }
    }
    return -EINVAL;
}

int cu__parse_duration(const char *text, int64_t *ns)
{
    static const struct unit units[] = {{"ns", 1},  {"us", 1e3}, {"ms", 1e6},
                                        {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}};
    return parse(text, units, sizeof(units) / sizeof(units[0]), ns);
}

int cu__parse_size(const char *text, int64_t *bytes)
{
    static const struct unit units[] = {{"KiB", 1024}, {"MiB", 1048576}, {"GiB", 1073741824}};
    return parse(text, units, sizeof(units) / sizeof(units[0]), bytes);
}

int cu__parse_share(const char *text, double *share)
{
    double value;
    if (parse_number(&text, &value) != 0) {
        return -EINVAL;
    }
    if (*text == '%') {
        value /= 100;
        text++;
    }
    if (*text != '\0' || value <= 0 || value > 1) {
        return -EINVAL;
    }
    *share = value;
    return 0;
}
