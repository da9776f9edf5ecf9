/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: who may ask. The server listens on loopback, or elsewhere with a token; and a web page
 * in somebody's browser must not be able to talk to it: a page can make a browser send requests to
 * 127.0.0.1, under its own host name, but cannot forge the Host and Origin headers.
 */
#ifndef COPPER_HTTP_ACCESS_H
#define COPPER_HTTP_ACCESS_H

#include <copper/profiler.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COPPER_TOKEN_MAX 512
#define COPPER_TOKEN_MIN 16 /* shorter ones can be guessed */

struct cu__access {
    char host[64]; /* IP that is served on, "127.0.0.1" */
    bool is_loopback;
    char token[COPPER_TOKEN_MAX];
    size_t token_length; /* 0: none */
};

/* Reads the token from $COPPER_TOKEN_FILE. 0 (token_length 0 when the variable is not set), -EACCES
 * (others may read or write the file, or it is another user's), -EINVAL (shorter than
 * COPPER_TOKEN_MIN, or not one word), or the -errno of opening it. */
int cu__access_read_token(struct cu__access *access);

struct cu__refusal {
    int status; /* 0: allowed */
    const char *text;
    struct cu_http_header extra; /* name NULL: none */
};
/* http_1_1: a Host header is required. */
struct cu__refusal cu__access_check(const struct cu__access *access,
                                    const struct cu_http_request *request, bool http_1_1);

#endif
