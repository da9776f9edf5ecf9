/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: a table of the hottest functions, and what would make a recording better.
 */
#ifndef COPPER_CLI_REPORT_H
#define COPPER_CLI_REPORT_H

#include <copper/pprof.h>
#include <stdio.h>

/* Prints the table of the sample type's `rows` largest functions. */
void cu__report_table(FILE *to, const struct cu_pprof *p, const char *type, size_t rows);
/* Says which symbols are missing when they are a large share of that type. */
void cu__report_symbols(const struct cu_pprof *p, const char *type);

#endif
