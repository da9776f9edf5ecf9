/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: turning the profiler on from outside the program: by the environment of a program that
 * links it, and by the preload shim, which opens this library and calls cu_preload_activate.
 */
#ifndef COPPER_ACTIVATE_H
#define COPPER_ACTIVATE_H

#include <stdbool.h>
#include <stddef.h>

/* For the shim: serves at http_address and, unless quiet, says so on stderr. http_address NULL: no
 * server. Warns of unknown COPPER_ variables. When the program serves by itself already, that
 * address is told. 0 or -errno (then one line on stderr, quiet or not, has said why). */
__attribute__((visibility("default"))) int cu_preload_activate(const char *http_address,
                                                               bool quiet);

/* The known COPPER_ variable that name was meant to be, NULL: nothing near. */
const char *cu__env_suggestion(const char *name);
bool cu__env_is_known(const char *name);

/* One line that says why serving at address failed, without a newline. */
void cu__explain_serve_error(const char *address, int err, char *line, size_t cap);

#endif
