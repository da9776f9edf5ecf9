/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: parsers of query strings, numbers, Host and Authorization values; see http_query.h.
 */
#include "http_query.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes one character of a query at s (n bytes left); returns the bytes used, 0 when malformed.
 */
static size_t decode_char(const char *s, size_t n, char *out)
{
    if (s[0] == '+') {
        *out = ' ';
        return 1;
    }
    if (s[0] != '%') {
        *out = s[0];
        return 1;
    }
    int hi = n > 2 ? hex_digit(s[1]) : -1, lo = n > 2 ? hex_digit(s[2]) : -1;
    if (hi < 0 || lo < 0) {
        return 0;
    }
    *out = (char)(hi * 16 + lo);
    return 3;
}

/* Decodes n bytes, cutting at cap - 1. False when an escape is malformed. */
static bool decode(const char *s, size_t n, char *out, size_t cap)
{
    size_t used = 0;
    while (n > 0) {
        char c;
        size_t step = decode_char(s, n, &c);
        if (step == 0) {
            return false;
        }
        if (used + 1 < cap) {
            out[used++] = c;
        }
        s += step;
        n -= step;
    }
    out[used] = '\0';
    return true;
}

bool cu__query_value(const char *query, const char *name, char out[COPPER_QUERY_VALUE_MAX])
{
    for (const char *at = query ? query : ""; *at;) {
        const char *end = strchrnul(at, '&');
        const char *equals = memchr(at, '=', (size_t)(end - at));
        const char *key_end = equals ? equals : end;
        const char *value = equals ? equals + 1 : end;
        char key[COPPER_QUERY_VALUE_MAX];
        /* Go rejects a pair with a ';' in it, and one with a bad escape, and goes on */
        if (!memchr(at, ';', (size_t)(end - at)) &&
            decode(at, (size_t)(key_end - at), key, sizeof(key)) && strcmp(key, name) == 0 &&
            decode(value, (size_t)(end - value), out, COPPER_QUERY_VALUE_MAX)) {
            return true;
        }
        at = *end ? end + 1 : end;
    }
    out[0] = '\0';
    return false;
}

bool cu__parse_int(const char *s, int64_t *out)
{
    bool is_negative = *s == '-';
    if (*s == '-' || *s == '+') {
        s++;
    }
    if (!*s) {
        return false;
    }
    int64_t value = 0; /* kept negative: that side has one more number */
    for (; *s; s++) {
        if (*s < '0' || *s > '9' || __builtin_mul_overflow(value, (int64_t)10, &value) ||
            __builtin_sub_overflow(value, (int64_t)(*s - '0'), &value)) {
            return false;
        }
    }
    if (!is_negative && value == INT64_MIN) {
        return false;
    }
    *out = is_negative ? value : -value;
    return true;
}

bool cu__parse_address(const char *s, size_t n, uint64_t *out)
{
    uint64_t base = 10, value = 0;
    if (n > 1 && s[0] == '0') {
        char kind = (char)tolower((unsigned char)s[1]);
        base = kind == 'x' ? 16 : kind == 'b' ? 2 : 8;
        size_t skip = kind == 'x' || kind == 'b' || kind == 'o' ? 2 : 1;
        s += skip;
        n -= skip;
    }
    if (n == 0) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        int digit = hex_digit(s[i]);
        if (digit < 0 || (uint64_t)digit >= base || __builtin_mul_overflow(value, base, &value) ||
            __builtin_add_overflow(value, (uint64_t)digit, &value)) {
            return false;
        }
    }
    *out = value;
    return true;
}

int64_t cu__query_int(const char *query, const char *name)
{
    char text[COPPER_QUERY_VALUE_MAX];
    int64_t value = 0;
    return cu__query_value(query, name, text) && cu__parse_int(text, &value) ? value : 0;
}

static bool is_port(const char *s)
{
    size_t n = strspn(s, "0123456789");
    return n <= 5 && s[n] == '\0';
}

bool cu__host_name(const char *value, char *out, size_t cap)
{
    const char *begin = value, *end;
    if (*value == '[') {
        begin = value + 1;
        end = strchr(begin, ']');
        if (!end || (end[1] != '\0' && end[1] != ':')) {
            return false;
        }
        if (end[1] == ':' && !is_port(end + 2)) {
            return false;
        }
    } else {
        end = strchrnul(value, ':');
        if (*end == ':' && !is_port(end + 1)) {
            return false;
        }
    }
    size_t n = (size_t)(end - begin);
    if (n == 0 || n >= cap) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        out[i] = (char)tolower((unsigned char)begin[i]);
    }
    out[n] = '\0';
    return true;
}

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Decodes base64 up to its padding or end. The number of bytes, -1 when malformed or too long. */
static int64_t base64_decode(const char *s, char *out, size_t cap)
{
    uint32_t bits = 0;
    int nbits = 0;
    size_t n = 0;
    for (; *s && *s != '='; s++) {
        int digit = base64_digit(*s);
        if (digit < 0) {
            return -1;
        }
        bits = bits << 6 | (uint32_t)digit;
        nbits += 6;
        if (nbits >= 8) {
            nbits -= 8;
            if (n >= cap) {
                return -1;
            }
            out[n++] = (char)(bits >> nbits & 0xff);
        }
    }
    return s[strspn(s, "=")] == '\0' ? (int64_t)n : -1;
}

int64_t cu__authorization_secret(const char *value, char *out, size_t cap)
{
    if (strncasecmp(value, "Bearer ", 7) == 0) {
        value += 7 + strspn(value + 7, " ");
        size_t n = strlen(value);
        if (n > cap) {
            return -1;
        }
        memcpy(out, value, n);
        return (int64_t)n;
    }
    if (strncasecmp(value, "Basic ", 6) != 0) {
        return -1;
    }
    int64_t n = base64_decode(value + 6 + strspn(value + 6, " "), out, cap);
    const char *colon = n > 0 ? memchr(out, ':', (size_t)n) : NULL;
    if (!colon) {
        return -1;
    }
    int64_t length = n - (colon + 1 - out);
    memmove(out, colon + 1, (size_t)length);
    return length;
}

bool cu__equal_secret(const char *a, size_t an, const char *b, size_t bn)
{
    volatile unsigned char difference = an != bn;
    for (size_t i = 0; i < an; i++) {
        unsigned char other = bn ? (unsigned char)b[i % bn] : 0;
        difference = (unsigned char)(difference | ((unsigned char)a[i] ^ other));
    }
    return difference == 0;
}
