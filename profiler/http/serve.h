/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what activation needs of cu_pprof_serve besides its public functions.
 */
#ifndef COPPER_SERVE_H
#define COPPER_SERVE_H

#include <stdint.h>

/* "127.0.0.1:6060", "localhost:0" -> ip and port in host order. 0 or -EINVAL. */
int cu__parse_listen_address(const char *text, uint32_t *ip, uint16_t *port);

#endif
