/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: check and repair UTF-8; see utf8.h.
 */
#include "utf8.h"

#include <stdint.h>
#include <string.h>

/* Bytes of the well-formed character at `at`, of at most n; 0 if there is none. Not well formed:
 * stray continuation bytes, cut characters, longer forms than needed, surrogates, and what is above
 * U+10FFFF. */
static size_t character_length(const unsigned char *at, size_t n)
{
    unsigned char lead = at[0], low = 0x80, high = 0xbf;
    size_t length;
    if (lead == 0)
        return 0;
    if (lead < 0x80)
        return 1;
    if (lead >= 0xc2 && lead <= 0xdf)
        length = 2;
    else if (lead >= 0xe0 && lead <= 0xef)
        length = 3;
    else if (lead >= 0xf0 && lead <= 0xf4)
        length = 4;
    else
        return 0;
    if (lead == 0xe0)
        low = 0xa0;
    if (lead == 0xed)
        high = 0x9f;
    if (lead == 0xf0)
        low = 0x90;
    if (lead == 0xf4)
        high = 0x8f;
    if (length > n || at[1] < low || at[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

bool cu__utf8_is_clean(const char *bytes, size_t n)
{
    const unsigned char *at = (const unsigned char *)bytes;
    for (size_t i = 0; i < n;) {
        size_t length = character_length(at + i, n - i);
        if (!length)
            return false;
        i += length;
    }
    return true;
}

size_t cu__utf8_clean(char *out, const char *bytes, size_t n)
{
    const unsigned char *at = (const unsigned char *)bytes;
    size_t written = 0;
    for (size_t i = 0; i < n;) {
        size_t length = character_length(at + i, n - i);
        if (length) {
            memcpy(out + written, bytes + i, length);
            written += length;
            i += length;
        } else {
            memcpy(out + written, "\xef\xbf\xbd", 3);
            written += 3;
            i++;
        }
    }
    return written;
}
