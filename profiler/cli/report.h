/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what a recording ends with: the ten hottest functions, and what would make it better.
 */
#ifndef COPPER_CLI_REPORT_H
#define COPPER_CLI_REPORT_H

#include <copper/pprof.h>

/* Prints the table on stderr. */
void cu__report_table(const struct cu_pprof *p);
/* Says which symbols are missing when they are a large share. */
void cu__report_symbols(const struct cu_pprof *p);

#endif
