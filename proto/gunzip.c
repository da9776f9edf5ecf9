/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: unpack gzip bytes; see gunzip.h.
 */
#include "gunzip.h"

#include <errno.h>
#include <stdlib.h>
#include <zlib.h>

#define COPPER_GUNZIP_FIRST  ((size_t)64 << 10) /* first size of the output */
#define COPPER_GUNZIP_PART   ((size_t)1 << 30)  /* most input given to zlib at once */
#define COPPER_GUNZIP_WINDOW (15 + 16)          /* any window, gzip headers only */

struct unpacker {
    z_stream stream;
    const uint8_t *in, *in_end; /* what zlib was not given yet */
    uint8_t *out;
    size_t used, cap, max;
    const char *wrong;
};

bool cu__is_gzip(const uint8_t *bytes, size_t n)
{
    return n >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b;
}

static int fail(struct unpacker *u, int err, const char *wrong)
{
    u->wrong = wrong;
    return err;
}

/* Room for at least one more byte. One past max is allowed: that byte proves the excess. */
static int make_room(struct unpacker *u)
{
    if (u->used < u->cap)
        return 0;
    if (u->used > u->max)
        return fail(u, -E2BIG, "unpacks to more than a profile may have");
    size_t cap = u->cap ? u->cap * 2 : COPPER_GUNZIP_FIRST;
    if (cap > u->max + 1)
        cap = u->max + 1;
    uint8_t *out = realloc(u->out, cap);
    if (!out)
        return fail(u, -ENOMEM, "out of memory");
    u->out = out;
    u->cap = cap;
    return 0;
}

static void give_input(struct unpacker *u)
{
    size_t left = (size_t)(u->in_end - u->in);
    if (u->stream.avail_in || !left)
        return;
    u->stream.next_in = (z_const Bytef *)u->in;
    u->stream.avail_in = (uInt)(left < COPPER_GUNZIP_PART ? left : COPPER_GUNZIP_PART);
    u->in += u->stream.avail_in;
}

/* Unpacks one member. */
static int unpack_member(struct unpacker *u)
{
    for (;;) {
        int err = make_room(u);
        if (err)
            return err;
        give_input(u);
        size_t room = u->cap - u->used;
        u->stream.next_out = u->out + u->used;
        u->stream.avail_out = (uInt)(room < COPPER_GUNZIP_PART ? room : COPPER_GUNZIP_PART);
        uInt before = u->stream.avail_out;
        int state = inflate(&u->stream, Z_NO_FLUSH);
        u->used += before - u->stream.avail_out;
        if (state == Z_STREAM_END)
            return 0;
        if (state == Z_MEM_ERROR)
            return fail(u, -ENOMEM, "out of memory");
        if (state != Z_OK && state != Z_BUF_ERROR)
            return fail(u, -EBADMSG, u->stream.msg ? u->stream.msg : "not gzip data");
        if (u->stream.avail_out && !u->stream.avail_in && u->in == u->in_end)
            return fail(u, -EBADMSG, "ends in the middle");
    }
}

static int unpack_members(struct unpacker *u)
{
    for (;;) {
        int err = unpack_member(u);
        if (err)
            return err;
        if (u->used > u->max)
            return fail(u, -E2BIG, "unpacks to more than a profile may have");
        give_input(u);
        if (!u->stream.avail_in)
            return 0;
        if (!cu__is_gzip(u->stream.next_in, (size_t)(u->in_end - u->stream.next_in)))
            return fail(u, -EBADMSG, "something else follows");
        inflateReset(&u->stream);
    }
}

int cu__gunzip(const uint8_t *bytes, size_t n, size_t max, uint8_t **out, size_t *out_n,
               const char **wrong)
{
    struct unpacker u = {.in = bytes, .in_end = bytes + n, .max = max};
    *out = NULL;
    *out_n = 0;
    *wrong = "out of memory";
    if (inflateInit2(&u.stream, COPPER_GUNZIP_WINDOW) != Z_OK)
        return -ENOMEM;
    int err = unpack_members(&u);
    inflateEnd(&u.stream);
    if (err) {
        free(u.out);
        *wrong = u.wrong;
        return err;
    }
    *out = u.out;
    *out_n = u.used;
    return 0;
}
