/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: for tests of profiles: a growing buffer of bytes, to write a profile into and to make
 * protobuf by hand in.
 */
#ifndef COPPER_TEST_PPROF_BYTES_H
#define COPPER_TEST_PPROF_BYTES_H

#include <copper/pprof.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bytes {
    unsigned char *at;
    size_t n, cap;
};

static inline void bytes_free(struct bytes *b)
{
    free(b->at);
    *b = (struct bytes){0};
}

static inline void bytes_add(struct bytes *b, const void *from, size_t n)
{
    if (b->n + n > b->cap) {
        b->cap = 2 * (b->n + n);
        b->at = realloc(b->at, b->cap);
        if (!b->at)
            abort();
    }
    if (n)
        memcpy(b->at + b->n, from, n);
    b->n += n;
}

/* A cu_pprof_write_fn. */
static inline int bytes_write(void *ctx, const void *from, size_t n)
{
    bytes_add(ctx, from, n);
    return 0;
}

static inline void bytes_hex(struct bytes *b, const char *hex)
{
    for (unsigned value; sscanf(hex, "%2x", &value) == 1; hex += 2) {
        unsigned char byte = (unsigned char)value;
        bytes_add(b, &byte, 1);
    }
}

static inline void bytes_varint(struct bytes *b, uint64_t value)
{
    unsigned char byte;
    for (; value >= 0x80; value >>= 7) {
        byte = (unsigned char)(value | 0x80);
        bytes_add(b, &byte, 1);
    }
    byte = (unsigned char)value;
    bytes_add(b, &byte, 1);
}

/* One field of a number. */
static inline void bytes_number(struct bytes *b, unsigned field, uint64_t value)
{
    bytes_varint(b, field << 3);
    bytes_varint(b, value);
}

/* One field of bytes. */
static inline void bytes_field(struct bytes *b, unsigned field, const void *from, size_t n)
{
    bytes_varint(b, field << 3 | 2);
    bytes_varint(b, n);
    bytes_add(b, from, n);
}

static inline void bytes_text(struct bytes *b, unsigned field, const char *text)
{
    bytes_field(b, field, text, strlen(text));
}

/* One field that is a message of numbers: pairs of (field, value), ended by field 0. */
static inline void bytes_message(struct bytes *b, unsigned field, const uint64_t (*pairs)[2])
{
    struct bytes inner = {0};
    for (; (*pairs)[0]; pairs++)
        bytes_number(&inner, (unsigned)(*pairs)[0], (*pairs)[1]);
    bytes_field(b, field, inner.at, inner.n);
    bytes_free(&inner);
}
#define BYTES_MESSAGE(b, field, ...)                                                               \
    bytes_message(b, field, (const uint64_t[][2]){__VA_ARGS__ __VA_OPT__(, ){0, 0}})

/* gzip's bytes of from. */
static inline void bytes_gzip(struct bytes *b, const void *from, size_t n)
{
    struct cu_gzip *z = cu_gzip_open(bytes_write, b);
    cu_gzip_write(z, from, n);
    if (cu_gzip_close(z))
        abort();
}

#endif
