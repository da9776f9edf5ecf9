/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what fuzz_http.c and its makers of profiles share: the switches of one input.
 */
#ifndef COPPER_FUZZ_HTTP_H
#define COPPER_FUZZ_HTTP_H

#include <stdbool.h>

/* What the makers do. */
enum fuzz_maker {
    FUZZ_MAKER_WORKS,
    FUZZ_MAKER_FAILS,
    FUZZ_MAKER_FAILS_SILENTLY, /* without a line of text */
    FUZZ_MAKER_FAILS_SECOND,   /* the second time: in the middle of a difference */
    FUZZ_MAKER_CHANGES_TYPE,   /* the two profiles of a difference do not go together */
    FUZZ_MAKER_FAILS_MIDWAY,   /* after the answer has begun */
    FUZZ_MAKER_IS_BROKEN,      /* gives a profile with a sticky error */
    FUZZ_MAKER_MAKES_MUCH,     /* more than an answer's buffer */
};

struct fuzz_switches {
    bool is_loopback, has_token, token_is_public, http_1_1;
    bool no_body, body_breaks, body_trickles, body_is_huge;
    bool client_leaves, writing_fails;
    enum fuzz_maker maker;
};
extern struct fuzz_switches fuzz_switches;

/* A new input. */
void fuzz_makers_reset(void);
/* Windows (of a CPU profile) begun and not ended. */
int fuzz_makers_open_windows(void);

#endif
