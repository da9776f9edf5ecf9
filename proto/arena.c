/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: bounded memory for unpacking; see arena.h.
 */
#include "arena.h"

#include <errno.h>
#include <stdalign.h>
#include <stdlib.h>

#define COPPER_ARENA_CHUNK ((size_t)16 << 10) /* bytes of an ordinary chunk */

struct cu__arena_chunk {
    struct cu__arena_chunk *next;
    size_t used, size;
    alignas(max_align_t) char bytes[];
};

static struct cu__arena_chunk *add_chunk(struct cu__arena *arena, size_t n)
{
    size_t size = n > COPPER_ARENA_CHUNK ? n : COPPER_ARENA_CHUNK;
    if (size > COPPER_MESSAGE_MEMORY_MAX - arena->allocated) {
        arena->error = -E2BIG;
        return NULL;
    }
    struct cu__arena_chunk *chunk = malloc(sizeof *chunk + size);
    if (!chunk) {
        arena->error = -ENOMEM;
        return NULL;
    }
    chunk->used = 0;
    chunk->size = size;
    chunk->next = arena->chunk;
    arena->chunk = chunk;
    arena->allocated += size;
    return chunk;
}

void *cu__arena_alloc(struct cu__arena *arena, size_t n)
{
    struct cu__arena_chunk *chunk = arena->chunk;
    if (n > COPPER_MESSAGE_MEMORY_MAX) {
        arena->error = -E2BIG;
        return NULL;
    }
    n = (n + alignof(max_align_t) - 1) / alignof(max_align_t) * alignof(max_align_t);
    if (!chunk || chunk->size - chunk->used < n)
        chunk = add_chunk(arena, n);
    if (!chunk)
        return NULL;
    void *bytes = chunk->bytes + chunk->used;
    chunk->used += n;
    return bytes;
}

void cu__arena_reset(struct cu__arena *arena)
{
    struct cu__arena_chunk *chunk = arena->chunk;
    while (chunk && chunk->next) {
        arena->chunk = chunk->next;
        arena->allocated -= chunk->size;
        free(chunk);
        chunk = arena->chunk;
    }
    if (chunk)
        chunk->used = 0;
    arena->error = 0;
}

void cu__arena_free(struct cu__arena *arena)
{
    cu__arena_reset(arena);
    free(arena->chunk);
    *arena = (struct cu__arena){0};
}
