/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the address a program is to serve on, judged before exec, when an error can still be told
 * to somebody.
 */
#ifndef COPPER_CLI_ADDRESS_H
#define COPPER_CLI_ADDRESS_H

#include "cli.h"

/* Reads HOST:PORT (also :PORT, PORT and localhost:PORT), checks that it can be served on now, and
 * writes it as the profiler wants it. 0, or the exit status after saying what is wrong. */
int cu__address_check(const char *text, char out[COPPER_ADDRESS_MAX]);

#endif
