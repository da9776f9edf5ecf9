/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: /metrics, for Prometheus and what reads its text format 0.0.4.
 */
#ifndef COPPER_METRICS_H
#define COPPER_METRICS_H

#include "http_answer.h"

#define COPPER_METRICS_PATH "/metrics"

/* ?go=0 leaves out the names that Go programs have. */
void cu__serve_metrics(struct cu__answer *a);

#endif
