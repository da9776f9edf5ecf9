/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: mutate profiles so that most mutants are protobuf still.
 *
 * Design: gzip'd inputs are unpacked, mutated and packed again. A mutation takes one field of the
 * outermost message and drops it, repeats it, moves it, or changes what is in it and puts the right
 * length in front; numbers inside messages become small ones, since indices and ids are small. One
 * mutation in four is libFuzzer's own, on the bytes as they are.
 */
#include <copper/pprof.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gunzip.h"
#include "pprof_bytes.h"
#include "wire.h"

#define FIELDS_MAX   512
#define UNPACKED_MAX ((size_t)1 << 20)
#define GROWTH_MAX   64 /* bytes that one mutation may add to a message */

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

struct piece {
    const uint8_t *at;
    size_t n;
    struct cu__field field;
};

static unsigned next_random(unsigned *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static size_t split(const uint8_t *data, size_t size, struct piece *pieces)
{
    struct cu__wire wire = {data, data + size};
    size_t n = 0;
    while (wire.at < wire.end && n < FIELDS_MAX) {
        const uint8_t *at = wire.at;
        if (cu__wire_field(&wire, &pieces[n].field))
            break;
        pieces[n].at = at;
        pieces[n++].n = (size_t)(wire.at - at);
    }
    return n;
}

/* Numbers that are indices, ids or their ends. */
static uint64_t likely_number(unsigned *seed)
{
    static const uint64_t edges[] = {0, 1, UINT64_MAX, INT64_MAX, (uint64_t)INT64_MAX + 1};
    unsigned pick = next_random(seed) % 8;
    return pick < 5 ? edges[pick] : next_random(seed) % 24;
}

/* One number in the message becomes another, or a number is added. */
static void change_number(struct bytes *out, const struct piece *from, unsigned *seed)
{
    static struct piece inner[FIELDS_MAX];
    size_t n = split(from->field.bytes, from->field.length, inner);
    size_t pick = next_random(seed) % (n + 1);
    for (size_t i = 0; i < n; i++) {
        if (i == pick && inner[i].field.type == COPPER_WIRE_VARINT)
            bytes_number(out, inner[i].field.number, likely_number(seed));
        else
            bytes_add(out, inner[i].at, inner[i].n);
    }
    if (pick == n)
        bytes_number(out, 1 + next_random(seed) % 10, likely_number(seed));
}

static void change_bytes(struct bytes *out, const struct piece *from)
{
    size_t room = from->field.length + GROWTH_MAX;
    uint8_t *copy = malloc(room);
    if (!copy)
        abort();
    if (from->field.length)
        memcpy(copy, from->field.bytes, from->field.length);
    bytes_add(out, copy, LLVMFuzzerMutate(copy, from->field.length, room));
    free(copy);
}

/* The field with other contents and the right length. */
static void change(struct bytes *out, const struct piece *from, unsigned *seed)
{
    struct bytes inside = {0};
    if (from->field.type != COPPER_WIRE_BYTES) {
        bytes_number(out, from->field.number, likely_number(seed));
        return;
    }
    if (next_random(seed) % 2)
        change_number(&inside, from, seed);
    else
        change_bytes(&inside, from);
    bytes_field(out, from->field.number, inside.at, inside.n);
    bytes_free(&inside);
}

static void mutate_plain(struct bytes *out, const uint8_t *data, size_t size, unsigned *seed)
{
    static struct piece pieces[FIELDS_MAX];
    size_t n = split(data, size, pieces);
    size_t pick = n ? next_random(seed) % n : 0, other = n ? next_random(seed) % n : 0;
    unsigned what = next_random(seed) % 8;
    for (size_t i = 0; i < n; i++) {
        if (i == other && what == 2) /* moved to here, or ... */
            bytes_add(out, pieces[pick].at, pieces[pick].n);
        if (i != pick) {
            bytes_add(out, pieces[i].at, pieces[i].n);
            continue;
        }
        if (what == 0 || what == 2) /* dropped */
            continue;
        if (what == 1) /* repeated */
            bytes_add(out, pieces[i].at, pieces[i].n);
        change(out, &pieces[i], seed);
    }
    if (n == 0)
        BYTES_MESSAGE(out, 1 + next_random(seed) % 15, {1, likely_number(seed)});
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    struct bytes plain = {0}, packed = {0};
    uint8_t *unpacked = NULL;
    const char *wrong;
    size_t n = size;
    if (next_random(&seed) % 4 == 0)
        return LLVMFuzzerMutate(data, size, max);
    if (cu__is_gzip(data, size) && cu__gunzip(data, size, UNPACKED_MAX, &unpacked, &n, &wrong))
        return LLVMFuzzerMutate(data, size, max);
    mutate_plain(&plain, unpacked ? unpacked : data, n, &seed);
    bytes_gzip(&packed, plain.at, plain.n);
    struct bytes *result = unpacked ? &packed : &plain;
    if (result->n && result->n <= max) {
        memcpy(data, result->at, result->n);
        size = result->n;
    } else {
        size = LLVMFuzzerMutate(data, size, max);
    }
    free(unpacked);
    bytes_free(&plain);
    bytes_free(&packed);
    return size;
}
