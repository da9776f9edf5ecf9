/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: gzip bytes as they come (cu_gzip_*).
 *
 * Design: zlib's fastest level, as Go's server uses: a profile is fetched more often than kept. One
 * output buffer; it goes to the caller's function each time it is full.
 *
 * Invariants: after the first error nothing is written any more, and every call returns that error.
 */
#include <copper/pprof.h>

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <zlib.h>

#define COPPER_GZIP_BUFFER (16 << 10)
#define COPPER_GZIP_WINDOW (15 + 16) /* the largest window, with a gzip header */
#define COPPER_GZIP_MEMORY 8         /* zlib's default */

struct cu_gzip {
    z_stream stream;
    cu_pprof_write_fn *write;
    void *ctx;
    int error;
    unsigned char out[COPPER_GZIP_BUFFER];
};

struct cu_gzip *cu_gzip_open(cu_pprof_write_fn *write, void *ctx)
{
    struct cu_gzip *z = calloc(1, sizeof *z);
    if (!z)
        return NULL;
    z->write = write;
    z->ctx = ctx;
    if (deflateInit2(&z->stream, Z_BEST_SPEED, Z_DEFLATED, COPPER_GZIP_WINDOW, COPPER_GZIP_MEMORY,
                     Z_DEFAULT_STRATEGY) != Z_OK) {
        free(z);
        return NULL;
    }
    z->stream.next_out = z->out;
    z->stream.avail_out = sizeof z->out;
    return z;
}

static void send_output(struct cu_gzip *z)
{
    size_t n = sizeof z->out - z->stream.avail_out;
    z->stream.next_out = z->out;
    z->stream.avail_out = sizeof z->out;
    if (n)
        z->error = z->write(z->ctx, z->out, n);
}

/* Compresses what is in next_in, and with Z_FINISH all that zlib still holds. */
static void compress_input(struct cu_gzip *z, int flush)
{
    int state = Z_OK;
    while (!z->error && (z->stream.avail_in || (flush == Z_FINISH && state != Z_STREAM_END))) {
        state = deflate(&z->stream, flush);
        if (state == Z_STREAM_ERROR)
            z->error = -EIO;
        else if (z->stream.avail_out == 0)
            send_output(z);
    }
}

int cu_gzip_write(struct cu_gzip *z, const void *bytes, size_t n)
{
    const unsigned char *at = bytes;
    if (!z)
        return -ENOMEM;
    while (n && !z->error) {
        uInt part = n < UINT_MAX ? (uInt)n : UINT_MAX;
        z->stream.next_in = (z_const Bytef *)at;
        z->stream.avail_in = part;
        compress_input(z, Z_NO_FLUSH);
        at += part;
        n -= part;
    }
    return z->error;
}

int cu_gzip_close(struct cu_gzip *z)
{
    if (!z)
        return -ENOMEM;
    compress_input(z, Z_FINISH);
    if (!z->error)
        send_output(z);
    int err = z->error;
    deflateEnd(&z->stream);
    free(z);
    return err;
}
