/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: who may ask; see http_access.h.
 */
#include "http_access.h"

#include "http_query.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

static int read_private_file(const char *path, char *out, size_t cap, size_t *n)
{
    int fd = open(path, O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    struct stat st;
    int err = fstat(fd, &st) == 0 ? 0 : -errno;
    if (!err && (!S_ISREG(st.st_mode) || (st.st_mode & 077) != 0 ||
                 (st.st_uid != geteuid() && st.st_uid != 0))) {
        err = -EACCES;
    }
    ssize_t got = err ? 0 : read(fd, out, cap);
    if (got < 0) {
        err = -errno;
    }
    close(fd);
    *n = got > 0 ? (size_t)got : 0;
    return err;
}

int cu__access_read_token(struct cu__access *access)
{
    const char *path = secure_getenv("COPPER_TOKEN_FILE");
    access->token_length = 0;
    if (!path || !*path) {
        return 0;
    }
    size_t n;
    int err = read_private_file(path, access->token, sizeof(access->token), &n);
    if (err) {
        return err;
    }
    while (n > 0 && strchr(" \t\r\n", access->token[n - 1])) {
        n--;
    }
    for (size_t i = 0; i < n; i++) {
        if (access->token[i] <= ' ' || access->token[i] == 0x7f) {
            return -EINVAL;
        }
    }
    if (n < COPPER_TOKEN_MIN || n == sizeof(access->token)) {
        return -EINVAL;
    }
    access->token_length = n;
    return 0;
}

/* The header's value; *count: how many there are. */
static const char *header(const struct cu_http_request *request, const char *name, int *count)
{
    const char *value = NULL;
    *count = 0;
    for (size_t i = 0; i < request->nheaders; i++) {
        if (strcasecmp(request->headers[i].name, name) == 0) {
            value = value ? value : request->headers[i].value;
            ++*count;
        }
    }
    return value;
}

static bool is_our_name(const struct cu__access *access, const char *host)
{
    char name[256];
    if (!cu__host_name(host, name, sizeof(name))) {
        return false;
    }
    return strcmp(name, "localhost") == 0 || strcmp(name, "127.0.0.1") == 0 ||
           strcmp(name, "::1") == 0 || strcmp(name, access->host) == 0;
}

static bool has_token(const struct cu__access *access, const struct cu_http_request *request)
{
    int count;
    const char *value = header(request, "Authorization", &count);
    char secret[2 * COPPER_TOKEN_MAX];
    int64_t n = count == 1 ? cu__authorization_secret(value, secret, sizeof(secret)) : -1;
    return n >= 0 && cu__equal_secret(secret, (size_t)n, access->token, access->token_length);
}

struct cu__refusal cu__access_check(const struct cu__access *access,
                                    const struct cu_http_request *request, bool http_1_1)
{
    int count;
    const char *host = header(request, "Host", &count);
    if (count > 1 || (count == 0 && http_1_1)) {
        return (struct cu__refusal){.status = 400, .text = "exactly one Host header is required"};
    }
    /* Beyond loopback any name may be ours; there the token keeps strangers out. */
    if (host && access->is_loopback && !is_our_name(access, host)) {
        return (struct cu__refusal){
            .status = 403,
            .text = "the Host header must be localhost or an address of this server"};
    }
    header(request, "Origin", &count);
    if (count > 0) {
        return (struct cu__refusal){.status = 403,
                                    .text = "requests of web pages (with Origin) are refused"};
    }
    if (access->token_length > 0 && !has_token(access, request)) {
        return (struct cu__refusal){
            .status = 401,
            .text = "a token is required: Authorization: Bearer, or http://x:TOKEN@host/",
            .extra = {"WWW-Authenticate", "Basic realm=\"copper\""}};
    }
    return (struct cu__refusal){.status = 0};
}
