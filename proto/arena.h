/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: memory for one unpacked message at a time, with a bound.
 *
 * Design: protobuf-c makes a structure of each submessage, so two bytes can ask for a hundred. It
 * allocates through this arena, which is emptied after each message and refuses to grow past its
 * bound; so a hostile message costs at most the bound, and no message costs a malloc of its own.
 */
#ifndef COPPER_PROTO_ARENA_H
#define COPPER_PROTO_ARENA_H

#include <stddef.h>

#define COPPER_MESSAGE_MEMORY_MAX ((size_t)128 << 20) /* for one unpacked message */

struct cu__arena_chunk;

struct cu__arena {
    struct cu__arena_chunk *chunk; /* the newest, others behind it */
    size_t allocated;              /* bytes of all chunks */
    int error;                     /* why the last refusal: -ENOMEM or -E2BIG */
};

/* Aligned as malloc does. NULL: see error. */
void *cu__arena_alloc(struct cu__arena *arena, size_t n);
/* Forgets what was allocated; keeps one chunk. */
void cu__arena_reset(struct cu__arena *arena);
void cu__arena_free(struct cu__arena *arena);

#endif
