/* SPDX-License-Identifier: Apache-2.0
 *
 * copper/label.h: key/value labels on coroutines and threads.
 *
 * Every sample taken while a coroutine runs carries its labels; coroutines that it spawns inherit
 * them. A set of labels is immutable and interned: equal sets are one object, which lives as long
 * as the process, so that a tool may keep a pointer. At most COPPER_LABEL_SETS_MAX different sets
 * exist; do not label with request ids.
 *
 *     cu_label_set("stage", "parse");                  // until it is changed
 *     COPPER_LABEL_SCOPE("stage", "parse");            // until the end of the block
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

/* ---- for a while: as Go's pprof.Do ---- */

/* What push found, for pop. */
struct cu_label_scope {
    const struct cu_labels *before;
    int err; /* of push: 0 or as cu_label_set, and then the label is not set */
};

/* As cu_label_set, and remembers all labels of the caller as they were. */
struct cu_label_scope cu_label_push(const char *key, const char *value);
/* Gives the caller back the labels that it had before the push: what it pushed and set since then
 * is gone. Pushes nest; each is popped in the coroutine or thread that made it, the last one first.
 * What was spawned meanwhile keeps what it inherited. Any number of times; never fails; takes no
 * lock. */
void cu_label_pop(const struct cu_label_scope *scope);

/* A push that is popped when the block is left, in whatever way but longjmp and cu_exit. A
 * declaration; C++ knows it too. */
#define COPPER_LABEL_SCOPE(key, value)                                                             \
    __attribute__((cleanup(cu_label_pop), unused)) const struct cu_label_scope                     \
    COPPER_LABEL_SCOPE_NAME(__COUNTER__) = cu_label_push((key), (value))
#define COPPER_LABEL_SCOPE_NAME(number)    COPPER_LABEL_SCOPE_NAME_OF(number)
#define COPPER_LABEL_SCOPE_NAME_OF(number) cu_label_scope_##number

/* Reads a set, in order of keys. l may be NULL (the empty set). Any context. */
size_t cu_labels_count(const struct cu_labels *l);
const char *cu_labels_key(const struct cu_labels *l, size_t i);
const char *cu_labels_value(const struct cu_labels *l, size_t i);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
