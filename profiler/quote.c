/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see quote.h.
 *
 * Design. Go also escapes what is no ASCII and cannot be printed; of that only the control
 * characters are known here, and the rest stays as it is.
 */
#include "quote.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define COPPER_ESCAPE_MAX 6 /* "\u0085" */

size_t cu__utf8_sequence(const unsigned char *s, size_t left)
{
    size_t n = s[0] < 0x80                   ? 1
               : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
               : (s[0] & 0xf0) == 0xe0       ? 3
               : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
                                             : 0;
    if (n == 0 || n > left) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool is_overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    bool is_outside = (s[0] == 0xed && s[1] >= 0xa0) || (s[0] == 0xf4 && s[1] >= 0x90);
    return is_overlong || is_outside ? 0 : n;
}

/* One character, of `step` bytes (0: a byte of none). Returns how many were written: no more than
 * COPPER_ESCAPE_MAX. */
static size_t put_quoted(char *out, const unsigned char *s, size_t step)
{
    static const char plain[] = "\a\b\f\n\r\t\v\"\\", letters[] = "abfnrtv\"\\";
    const char *escaped = step == 1 ? strchr(plain, *s) : NULL;
    if (escaped) {
        out[0] = '\\';
        out[1] = letters[escaped - plain];
        return 2;
    }
    if (step == 0 || *s < 0x20 || *s == 0x7f) {
        return (size_t)sprintf(out, "\\x%02x", *s);
    }
    if (step == 2 && s[0] == 0xc2 && s[1] < 0xa0) {
        return (size_t)sprintf(out, "\\u%04x", s[1]);
    }
    memcpy(out, s, step);
    return step;
}

void cu__append_quoted(char *out, size_t cap, const char *value)
{
    const unsigned char *s = (const unsigned char *)value;
    size_t n = strlen(out), left = strlen(value);
    if (n + 3 > cap) {
        return;
    }
    out[n++] = '"';
    while (left && n + COPPER_ESCAPE_MAX + 3 <= cap) { /* and sprintf's zero */
        size_t step = cu__utf8_sequence(s, left), taken = step ? step : 1;
        n += put_quoted(out + n, s, step);
        s += taken;
        left -= taken;
    }
    out[n++] = '"';
    out[n] = '\0';
}
