/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the small parsers of the HTTP side: query strings, Go's integers, Host and Authorization
 * values. Pure functions on untrusted bytes; each accepts any input.
 */
#ifndef COPPER_HTTP_QUERY_H
#define COPPER_HTTP_QUERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COPPER_QUERY_VALUE_MAX                                                                     \
    64 /* room for a parameter's value and its NUL; no number is longer */

/* The first value of name in a query ("a=1&b=2", NULL is empty), decoded. False when absent. A
 * value that does not fit is cut, which no parser below takes for a number. */
bool cu__query_value(const char *query, const char *name, char out[COPPER_QUERY_VALUE_MAX]);

/* A decimal integer with optional sign and nothing else, as Go's ParseInt(s, 10, 64). */
bool cu__parse_int(const char *s, int64_t *out);

/* An unsigned number of n bytes with C's prefixes (0x, 0b, 0o, 0): a program counter in a request
 * for symbols. */
bool cu__parse_address(const char *s, size_t n, uint64_t *out);

/* Like ?debug=: what cannot be parsed is 0. */
int64_t cu__query_int(const char *query, const char *name);

/* Splits "host", "host:port" or "[v6]:port"; copies the host in lower case, without brackets. False
 * when malformed or too long. */
bool cu__host_name(const char *value, char *out, size_t cap);

/* The secret in an Authorization value: of "Bearer X", or the password of "Basic base64(user:X)".
 * Returns its length, -1 when there is none or it does not fit. */
int64_t cu__authorization_secret(const char *value, char *out, size_t cap);

/* Equal? The time depends on the lengths only. */
bool cu__equal_secret(const char *a, size_t an, const char *b, size_t bn);

#endif
