/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: a small HTTP/1.1 client: one GET on one connection, driven by poll, so that several can be
 * under way in one thread.
 *
 *     struct cu__fetch f;
 *     cu__fetch_begin(&f, "127.0.0.1:6060", "/debug/pprof/profile?seconds=1");
 *     do { poll on f.fd for cu__fetch_events(&f) } while (!cu__fetch_step(&f));
 *     int err = cu__fetch_body(&f, &body, &n, error);
 *     cu__fetch_end(&f);
 */
#ifndef COPPER_CLI_FETCH_H
#define COPPER_CLI_FETCH_H

#include "cli.h"

#define COPPER_FETCH_BYTES_MAX ((size_t)256 << 20) /* of an answer */

struct cu__fetch {
    int fd;
    int err; /* 0 or -errno of the connection */
    bool is_done, is_connected;
    bool is_cut; /* what cu__fetch_cut_body gave is not all of it */
    char request[1024];
    size_t request_size, sent;
    char *bytes; /* the answer as it came */
    size_t nbytes, capacity;
};

/* Starts. A failure is kept and reported by cu__fetch_body. */
void cu__fetch_begin(struct cu__fetch *f, const char *address, const char *path);
short cu__fetch_events(const struct cu__fetch *f);
/* Goes on as far as it can without waiting. True: finished, well or not. */
bool cu__fetch_step(struct cu__fetch *f);
/* The body of a finished, complete answer with status 200; owned by f. Else a negative errno value
 * and one line in error. */
int cu__fetch_body(struct cu__fetch *f, const char **body, size_t *n,
                   char error[COPPER_CLI_ERROR_MAX]);
/* The same; of an answer that was cut, the chunks that came whole. One of the two, and once. */
int cu__fetch_cut_body(struct cu__fetch *f, const char **body, size_t *n,
                       char error[COPPER_CLI_ERROR_MAX]);
/* Tells the server that no more will be sent: what it does for as long as it is asked ends, and is
 * answered with what there is. */
void cu__fetch_hang_up(struct cu__fetch *f);
void cu__fetch_end(struct cu__fetch *f);
/* All of it at once, blocking: 0 and the body, which is f's until cu__fetch_end; else -errno and one
 * line in error. */
int cu__fetch_now(struct cu__fetch *f, const char *address, const char *path, const char **body,
                  size_t *n, char error[COPPER_CLI_ERROR_MAX]);

#endif
