/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: labels of the whole process, from COPPER_LABELS=service=checkout,environment=prod: on
 * every sample of every profile. `service` also goes under the name that fleet engines group by,
 * `service_name`, unless that is given too. A label of a coroutine or thread with the same key
 * wins.
 *
 * Concurrency: read once, by whoever asks first; never changes then.
 */
#ifndef COPPER_PROCESS_LABELS_H
#define COPPER_PROCESS_LABELS_H

#include <copper/pprof.h>
#include <stddef.h>

#define COPPER_PROCESS_LABELS_MAX 16
#define COPPER_PROCESS_LABEL_MAX  128 /* bytes of a key or value */

/* Adds those whose keys are not among the n there are, at most cap in all. The new number. */
size_t cu__process_labels(struct cu_pprof_label *labels, size_t n, size_t cap);

/* One line on what is wrong with text, without a newline; "" when it is right. What is right of it
 * counts. */
void cu__process_labels_check(const char *text, char *line, size_t cap);

#endif
