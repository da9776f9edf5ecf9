/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: names to addresses, with a deadline.
 */
#ifndef COPPER_RUNTIME_RESOLVE_H
#define COPPER_RUNTIME_RESOLVE_H

#include <netdb.h>

#include "base.h"

/* cu_getaddrinfo that ends at deadline_ns with -ETIMEDOUT; 0: no deadline. Numbers are answered
 * without blocking. */
int cu__resolve(const char *node, const char *service, const struct addrinfo *hints,
                int64_t deadline_ns, struct addrinfo **result);

#endif
