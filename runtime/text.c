/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see text.h. Signal safety: everything here may be called from a handler.
 */
#include "text.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

void cu__text_flush(struct cu__text *t)
{
    size_t done = 0;
    int saved = errno;
    while (done < t->used) {
        ssize_t n = write(t->fd, t->bytes + done, t->used - done);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            break;
        }
        done += (size_t)n;
    }
    t->used = 0;
    errno = saved;
}

void cu__text_add(struct cu__text *t, const char *s)
{
    size_t left = s ? strlen(s) : 0;
    while (left) {
        size_t room = sizeof(t->bytes) - t->used, n = left < room ? left : room;
        memcpy(t->bytes + t->used, s, n);
        t->used += n;
        s += n;
        left -= n;
        if (left) {
            cu__text_flush(t);
        }
    }
}

void cu__text_number(struct cu__text *t, uint64_t n, unsigned base)
{
    char digits[24];
    size_t i = sizeof(digits);
    digits[--i] = 0;
    do {
        digits[--i] = "0123456789abcdef"[n % base];
        n /= base;
    } while (n);
    cu__text_add(t, digits + i);
}

void cu__text_site(struct cu__text *t, const struct cu_site *site)
{
    if (site == NULL) {
        cu__text_add(t, "at an unknown place");
        return;
    }
    cu__text_add(t, "by ");
    cu__text_add(t, site->function);
    cu__text_add(t, " at ");
    cu__text_add(t, site->file);
    cu__text_add(t, ":");
    cu__text_number(t, site->line, 10);
}
