/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: text for people, put together in a fixed buffer and written with write(2): usable in a
 * signal handler, with any lock held, and when memory has run out. What does not fit is written
 * before more is added.
 */
#ifndef COPPER_RUNTIME_TEXT_H
#define COPPER_RUNTIME_TEXT_H

#include <copper/inspect.h>

#include "base.h"

#define COPPER_TEXT_BYTES 1024u

struct cu__text {
    int fd;
    size_t used;
    char bytes[COPPER_TEXT_BYTES];
};

/* A string that is NULL adds nothing. */
void cu__text_add(struct cu__text *t, const char *s);
void cu__text_number(struct cu__text *t, uint64_t n, unsigned base);
/* "by function at file:line", or "at an unknown place". */
void cu__text_site(struct cu__text *t, const struct cu_site *site);
void cu__text_flush(struct cu__text *t);

#endif
