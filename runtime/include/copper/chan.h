/* SPDX-License-Identifier: Apache-2.0
 *
 * copper/chan.h: channels, with Go's semantics.
 *
 * A channel carries values of one size between coroutines and plain threads. Capacity 0 means that
 * sender and receiver meet (unbuffered). Waiting is in order of arrival on each side.
 *
 *     cu_chan *c = cu_chan_new(sizeof(int), 0);
 *     cu_send(c, &n);                      // parks until somebody receives
 *     while (cu_recv(c, &n) == 0) ...      // until closed and drained: -EPIPE
 *     cu_chan_close(c); cu_chan_unref(c);
 *
 * References: cu_chan_new gives one, cu_chan_ref takes another, the last cu_chan_unref frees.
 * Dropping the last one under waiters wakes them with -EPIPE and reports the misuse on stderr.
 *
 * From coroutines the waiting calls park; from plain threads they block the thread. None may be
 * called from a signal handler. All are thread-safe.
 */
#ifndef COPPER_CHAN_H
#define COPPER_CHAN_H

#include <copper/context.h>
#include <copper/go.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

typedef struct cu_chan cu_chan;

/* A channel for values of `size` bytes (0 is allowed: signals only) with room for `cap` of them.
 * NULL when memory is out or size * cap overflows. */
cu_chan *cu_chan_new(size_t size, size_t cap);
cu_chan *cu_chan_new_site(size_t size, size_t cap, const struct cu_site *site);
#define cu_chan_new(size, cap) cu_chan_new_site((size), (cap), COPPER_SITE())

cu_chan *cu_chan_ref(cu_chan *c); /* returns c */
void cu_chan_unref(cu_chan *c);   /* NULL is allowed */

/* A name for reports: "channel 'jobs' (cap 0, made at x.c:10)". Copied, cut to 31 bytes. */
void cu_chan_name(cu_chan *c, const char *name);

/* Sends / receives one value. 0, or -EPIPE when the channel is closed (recv: and drained; *value is
 * then zeroed). value may be NULL for recv to discard, and for size 0. On a NULL channel they wait
 * for ever, as in Go. The try forms never wait: -EAGAIN. */
int cu_send(cu_chan *c, const void *value);
int cu_recv(cu_chan *c, void *value);
int cu_try_send(cu_chan *c, const void *value);
int cu_try_recv(cu_chan *c, void *value);

/* The same until ctx (see copper/context.h; NULL: the background) is done: then -ECANCELED or
 * -ETIMEDOUT, nothing was sent or received, and *value is unchanged. A ctx that is done already wins
 * over a channel that is ready. They park, or block. */
int cu_send_ctx(cu_ctx *ctx, cu_chan *c, const void *value);
int cu_recv_ctx(cu_ctx *ctx, cu_chan *c, void *value);

/* No more sends; waiting and later receivers get what is buffered, then -EPIPE. Waiting senders get
 * -EPIPE. Closing twice, or NULL, is misuse: reports the caller and aborts. */
void cu_chan_close(cu_chan *c);

/* A glance at a moving thing: values buffered now; capacity. NULL: 0. */
size_t cu_chan_len(const cu_chan *c);
size_t cu_chan_cap(const cu_chan *c);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
