/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: names to addresses, with a deadline or a context.
 */
#ifndef COPPER_RUNTIME_RESOLVE_H
#define COPPER_RUNTIME_RESOLVE_H

#include <netdb.h>

#include "base.h"

struct cu__until;

/* cu_getaddrinfo that waits no longer than `until`: -ETIMEDOUT, or the context's error. Numbers are
 * answered without blocking. */
int cu__resolve(const char *node, const char *service, const struct addrinfo *hints,
                const struct cu__until *until, struct addrinfo **result);

#endif
