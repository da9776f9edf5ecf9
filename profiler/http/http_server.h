/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the HTTP server behind cu_pprof_serve. http_civetweb.c is the only file that knows which
 * library it is.
 */
#ifndef COPPER_HTTP_SERVER_H
#define COPPER_HTTP_SERVER_H

#include "http_access.h"

#include <stdbool.h>
#include <stdint.h>

#define COPPER_HTTP_WORKERS 24   /* requests at once */
#define COPPER_HTTP_WAITING 16   /* ... of which may wait for ?seconds= to pass */
#define COPPER_HTTP_SLOW    4    /* ... and whose clients may read slower than we write */
#define COPPER_HTTP_READ_MS 5000 /* a request must have come in whole by then */

struct cu__http_server;

/* Starts it on ip (host order) and *port, 0: any free one, which *port then tells. The process
 * keeps its SIGPIPE action and signal masks. 0 or -errno. */
int cu__http_start(const struct cu__access *access, uint32_t ip, uint16_t *port,
                   struct cu__http_server **out);

/* Cuts requests under way and waits until they have ended. */
void cu__http_stop(struct cu__http_server *server);

/* Does the program define the HTTP library's names itself, so that calls inside the library would
 * end up in the program? */
bool cu__http_is_captured(void);

#endif
