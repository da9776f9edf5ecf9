/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see fetch.h.
 *
 * Design. The connection is closed by the server at the end of the answer ("Connection: close"), so
 * an answer is read until its end and looked at afterwards. Whether it is complete is told by
 * Content-Length or by the last chunk; an answer that says neither is complete at its end.
 */
#include "fetch.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define COPPER_FETCH_STEP  65536 /* bytes asked for at once */
#define COPPER_TOKEN_BYTES 512

/* "Authorization: Bearer ...\r\n" when the user has a token, else "". */
static void read_token(char *out, size_t size)
{
    out[0] = '\0';
    const char *path = getenv("COPPER_TOKEN_FILE");
    FILE *f = path && *path != '\0' ? fopen(path, "re") : NULL;
    char token[COPPER_TOKEN_BYTES];
    if (f && fgets(token, sizeof token, f)) {
        token[strcspn(token, "\r\n")] = '\0';
        snprintf(out, size, "Authorization: Bearer %s\r\n", token);
    }
    if (f) {
        fclose(f);
    }
}

static bool parse_address(const char *address, struct sockaddr_in *out)
{
    char host[INET_ADDRSTRLEN];
    const char *colon = strrchr(address, ':');
    if (!colon || (size_t)(colon - address) >= sizeof host) {
        return false;
    }
    memcpy(host, address, (size_t)(colon - address));
    host[colon - address] = '\0';
    *out = (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10))};
    if (inet_pton(AF_INET, host, &out->sin_addr) != 1) {
        return false;
    }
    if (out->sin_addr.s_addr == INADDR_ANY) { /* serving everywhere is serving here */
        out->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    }
    return true;
}

static void finish(struct cu__fetch *f, int err)
{
    f->err = err;
    f->is_done = true;
}

void cu__fetch_begin(struct cu__fetch *f, const char *address, const char *path)
{
    *f = (struct cu__fetch){.fd = -1};
    char token[COPPER_TOKEN_BYTES + 64];
    read_token(token, sizeof token);
    int n = snprintf(f->request, sizeof f->request,
                     "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s\r\n", path, address,
                     token);
    struct sockaddr_in addr;
    if (n < 0 || (size_t)n >= sizeof f->request || !parse_address(address, &addr)) {
        finish(f, -EINVAL);
        return;
    }
    f->request_size = (size_t)n;
    f->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (f->fd < 0) {
        finish(f, -errno);
    } else if (connect(f->fd, (struct sockaddr *)&addr, sizeof addr) == 0) {
        f->is_connected = true;
        cu__fetch_step(f); /* the request should be on its way now, its window begins there */
    } else if (errno != EINPROGRESS) {
        finish(f, -errno);
    }
}

short cu__fetch_events(const struct cu__fetch *f)
{
    return f->sent < f->request_size ? POLLOUT : POLLIN;
}

/* True: the socket cannot take or give more now, or the exchange is over. */
static bool must_wait(struct cu__fetch *f, ssize_t n)
{
    if (n >= 0 || errno == EINTR) {
        return false;
    }
    if (errno != EAGAIN) {
        finish(f, -errno);
    }
    return true;
}

static bool finish_connecting(struct cu__fetch *f)
{
    struct pollfd p = {.fd = f->fd, .events = POLLOUT};
    if (poll(&p, 1, 0) <= 0) {
        return false;
    }
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(f->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        finish(f, -error);
        return false;
    }
    f->is_connected = true;
    return true;
}

static bool make_room(struct cu__fetch *f)
{
    if (f->capacity - f->nbytes >= COPPER_FETCH_STEP) {
        return true;
    }
    size_t capacity = 2 * f->capacity + COPPER_FETCH_STEP;
    char *bytes = capacity <= 2 * COPPER_FETCH_BYTES_MAX ? realloc(f->bytes, capacity) : NULL;
    if (!bytes) {
        finish(f, -ENOMEM);
        return false;
    }
    f->bytes = bytes;
    f->capacity = capacity;
    return true;
}

bool cu__fetch_step(struct cu__fetch *f)
{
    if (f->is_done || (!f->is_connected && !finish_connecting(f))) {
        return f->is_done;
    }
    while (f->sent < f->request_size) {
        ssize_t n = send(f->fd, f->request + f->sent, f->request_size - f->sent, MSG_NOSIGNAL);
        if (must_wait(f, n)) {
            return f->is_done;
        }
        f->sent += n > 0 ? (size_t)n : 0;
    }
    while (make_room(f)) {
        ssize_t n = recv(f->fd, f->bytes + f->nbytes, f->capacity - f->nbytes - 1, 0);
        if (must_wait(f, n)) {
            return f->is_done;
        }
        if (n == 0) {
            finish(f, 0);
            return true;
        }
        f->nbytes += n > 0 ? (size_t)n : 0;
    }
    return true;
}

/* The value of a header, up to its line's end; NULL: not there. head ends in an empty line. */
static const char *header(const char *head, const char *name)
{
    size_t n = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line && line[2] != '\r'; line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, n) == 0 && line[2 + n] == ':') {
            const char *value = line + 3 + n;
            return value + strspn(value, " ");
        }
    }
    return NULL;
}

/* Joins chunks in place. The size of what is there; is_cut: the last one is missing. */
static size_t join_chunks(char *body, size_t n, bool *is_cut)
{
    size_t in = 0, out = 0;
    for (;;) {
        char *end;
        char *line_end = memmem(body + in, n - in, "\r\n", 2);
        if (!line_end || !isxdigit((unsigned char)body[in])) {
            *is_cut = true;
            return out;
        }
        unsigned long size = strtoul(body + in, &end, 16);
        in = (size_t)(line_end - body) + 2;
        if (size == 0) {
            return out;
        }
        if (size > n - in || n - in - size < 2) {
            *is_cut = true;
            return out;
        }
        memmove(body + out, body + in, size);
        out += size;
        in += size + 2;
    }
}

static int cut_short(char error[COPPER_CLI_ERROR_MAX])
{
    snprintf(error, COPPER_CLI_ERROR_MAX, "the answer ends early");
    return -EBADMSG;
}

static int find_body(struct cu__fetch *f, bool may_be_cut, const char **body, size_t *n,
                     char error[COPPER_CLI_ERROR_MAX])
{
    if (f->err && !may_be_cut) {
        snprintf(error, COPPER_CLI_ERROR_MAX, "%s", strerror(-f->err));
        return f->err;
    }
    if (!f->bytes || f->nbytes == 0) {
        return cut_short(error);
    }
    f->bytes[f->nbytes] = '\0';
    char *head_end = strstr(f->bytes, "\r\n\r\n");
    int status;
    if (!head_end || sscanf(f->bytes, "HTTP/1.%*1[01] %d", &status) != 1) {
        return cut_short(error);
    }
    char *start = head_end + 4;
    ssize_t size = f->bytes + f->nbytes - start;
    char *after_head = start;
    char first = *after_head;
    *after_head = '\0'; /* headers are looked for in the head only */
    const char *length = header(f->bytes, "Content-Length");
    const char *coding = header(f->bytes, "Transfer-Encoding");
    bool is_chunked = coding && strncasecmp(coding, "chunked", 7) == 0;
    ssize_t promised = length ? (ssize_t)strtoull(length, NULL, 10) : size;
    *after_head = first;
    if (is_chunked) {
        size = (ssize_t)join_chunks(start, (size_t)size, &f->is_cut);
        size = f->is_cut && !may_be_cut ? -1 : size;
    } else if (promised < 0 || promised > size) {
        size = -1;
    } else {
        size = promised;
    }
    if (size < 0) {
        return cut_short(error);
    }
    if (status != 200) {
        int line = (int)strcspn(start, "\r\n");
        snprintf(error, COPPER_CLI_ERROR_MAX, "status %d: %.*s", status,
                 line < size ? line : (int)size, start);
        return -EPROTO;
    }
    *body = start;
    *n = (size_t)size;
    return 0;
}

int cu__fetch_body(struct cu__fetch *f, const char **body, size_t *n,
                   char error[COPPER_CLI_ERROR_MAX])
{
    return find_body(f, false, body, n, error);
}

int cu__fetch_cut_body(struct cu__fetch *f, const char **body, size_t *n,
                       char error[COPPER_CLI_ERROR_MAX])
{
    return find_body(f, true, body, n, error);
}

void cu__fetch_hang_up(struct cu__fetch *f)
{
    if (f->fd >= 0 && f->is_connected) {
        shutdown(f->fd, SHUT_WR);
    }
}

void cu__fetch_end(struct cu__fetch *f)
{
    if (f->fd >= 0) {
        close(f->fd);
    }
    free(f->bytes);
    *f = (struct cu__fetch){.fd = -1};
}

int cu__fetch_now(struct cu__fetch *f, const char *address, const char *path, const char **body,
                  size_t *n, char error[COPPER_CLI_ERROR_MAX])
{
    cu__fetch_begin(f, address, path);
    while (!cu__fetch_step(f)) {
        struct pollfd p = {.fd = f->fd, .events = cu__fetch_events(f)};
        if (!f->is_connected) {
            p.events = POLLOUT;
        }
        poll(&p, 1, -1);
    }
    return cu__fetch_body(f, body, n, error);
}
