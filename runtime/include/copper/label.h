/* SPDX-License-Identifier: Apache-2.0
 *
 * copper/label.h: key/value labels on coroutines and threads.
 *
 * Every sample taken while a coroutine runs carries its labels; coroutines that it spawns inherit
 * them. A set of labels is immutable and interned: equal sets are one object, which lives as long
 * as the process, so that a tool may keep a pointer. At most COPPER_LABEL_SETS_MAX different sets
 * exist; do not label with request ids.
 *
 *     cu_label_set("stage", "parse");
 */
#ifndef COPPER_LABEL_H
#define COPPER_LABEL_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define COPPER_LABELS_MAX      16    /* labels in one set */
#define COPPER_LABEL_BYTES_MAX 255   /* bytes of a key or of a value */
#define COPPER_LABEL_SETS_MAX  65536 /* different sets in one process */

struct cu_labels;

/* Sets (value NULL or "": removes) one label of the calling coroutine or plain thread. Strings are
 * copied. 0; -EINVAL empty key; -ENAMETOOLONG; -E2BIG over COPPER_LABELS_MAX; -ENOSPC over
 * COPPER_LABEL_SETS_MAX; -ENOMEM. On an error nothing changes. Does not block; takes a lock. */
int cu_label_set(const char *key, const char *value);

/* The value of the caller's label, or NULL. Valid as long as the process lives. */
const char *cu_label_get(const char *key);

/* Reads a set, in order of keys. l may be NULL (the empty set). Any context. */
size_t cu_labels_count(const struct cu_labels *l);
const char *cu_labels_key(const struct cu_labels *l, size_t i);
const char *cu_labels_value(const struct cu_labels *l, size_t i);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
