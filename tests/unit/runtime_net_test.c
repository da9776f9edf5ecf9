/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <copper/chan.h>
#include <copper/io.h>
#include <copper/net.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "coroutine_body.h"

#define CLIENTS 200
#define LARGE   (3u << 20)

static struct server {
    int listener, accepted; /* atomic: accepted */
    char address[COPPER_ADDRESS_MAX];
    const char *network;
    cu_wg wg;
    int failed; /* atomic: a line */
} s;

#define must(x)                                                                                    \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            __atomic_store_n(&s.failed, __LINE__, __ATOMIC_RELAXED);                               \
        }                                                                                          \
    } while (0)

static void echo(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char buffer[4096];
    ssize_t n;
    while ((n = cu_read(fd, buffer, sizeof(buffer))) > 0) {
        must(cu_write(fd, buffer, (size_t)n) == n);
    }
    must(n == 0 && cu_close(fd) == 0);
}

static void serve(void *unused)
{
    int fd;
    (void)unused;
    while ((fd = cu_accept(s.listener, NULL, NULL)) >= 0) {
        __atomic_fetch_add(&s.accepted, 1, __ATOMIC_RELAXED);
        must(cu_wg_go(&s.wg, echo, (void *)(intptr_t)fd) > 0);
    }
    must(fd == -EBADF); /* it was closed */
}

static void ask(void *unused)
{
    char text[32] = "", got[32] = "";
    (void)unused;
    int fd = cu_dial(s.network, s.address, 60 * COPPER_SEC);
    must(fd >= 0);
    for (int i = 0; i < 10; i++) {
        int n = snprintf(text, sizeof(text), "%d.%d", fd, i);
        must(cu_write(fd, text, (size_t)n) == n);
        must(cu_read_full(fd, got, (size_t)n) == n && memcmp(text, got, (size_t)n) == 0);
    }
    /* half close: the server sees the end, and closes its side */
    must(shutdown(fd, SHUT_WR) == 0 && cu_read(fd, got, 1) == 0 && cu_close(fd) == 0);
}

static int serve_clients(const char *network, const char *address, int clients)
{
    memset(&s, 0, sizeof(s));
    s.network = network;
    s.listener = cu_listen(network, address);
    expect(s.listener >= 0 && cu_local_address(s.listener, s.address, sizeof(s.address)) == 0);
    cu_wg_go(&s.wg, serve, NULL);
    cu_wg callers = {0};
    for (int i = 0; i < clients; i++) {
        cu_wg_go(&callers, ask, NULL);
    }
    cu_wg_wait(&callers);
    expect(cu_close(s.listener) == 0);
    cu_wg_wait(&s.wg);
    expect(s.failed == 0 && s.accepted == clients);
    /* the place is free again at once */
    if (strncmp(network, "tcp", 3) == 0) {
        int again = cu_listen(network, s.address);
        expect(again >= 0 && cu_close(again) == 0);
    }
    return 0;
}

COROUTINE_TEST(tcp4)
{
    return serve_clients("tcp4", "127.0.0.1:0", CLIENTS);
}

COROUTINE_TEST(tcp6)
{
    int fd = cu_listen("tcp6", "[::1]:0");
    if (fd == -EADDRNOTAVAIL || fd == -EAFNOSUPPORT) {
        return 0; /* this machine has none */
    }
    expect(fd >= 0 && cu_close(fd) == 0);
    return serve_clients("tcp", "[::1]:0", 20);
}

COROUTINE_TEST(unix_stream)
{
    char path[] = "/tmp/copper_net_XXXXXX", socket_path[64], abstract[64];
    expect(mkdtemp(path));
    snprintf(socket_path, sizeof(socket_path), "%s/s", path);
    int line = serve_clients("unix", socket_path, CLIENTS);
    expect(strcmp(s.address, socket_path) == 0 && unlink(socket_path) == 0 && rmdir(path) == 0);
    snprintf(abstract, sizeof(abstract), "@copper-%d", (int)getpid());
    line = line ? line : serve_clients("unix", abstract, 20);
    expect(strcmp(s.address, abstract) == 0);
    return line;
}

COROUTINE_TEST(names_and_any_address)
{
    char text[COPPER_ADDRESS_MAX];
    int fd = cu_listen("tcp", ":0"), on = 0;
    socklen_t size = sizeof(on);
    expect(fd >= 0 && cu_local_address(fd, text, sizeof(text)) == 0);
    char address[COPPER_ADDRESS_MAX];
    snprintf(address, sizeof(address), "localhost%s", strrchr(text, ':'));
    for (int64_t timeout_ns = -1; timeout_ns <= 60 * COPPER_SEC; timeout_ns += 60 * COPPER_SEC) {
        int client = cu_dial("tcp4", address, timeout_ns);
        expect(client >= 0);
        struct sockaddr_storage from;
        socklen_t length = sizeof(from);
        int server = cu_accept(fd, (struct sockaddr *)&from, &length);
        expect(server >= 0 && (fcntl(server, F_GETFD) & FD_CLOEXEC));
        char peer[COPPER_ADDRESS_MAX], mine[COPPER_ADDRESS_MAX];
        expect(cu_peer_address(client, peer, sizeof(peer)) == 0);
        expect(strncmp(peer, "127.", 4) == 0 && cu_local_address(client, mine, sizeof(mine)) == 0);
        expect(strcmp(strrchr(mine, ':'),
                      strrchr(cu_address_text((struct sockaddr *)&from, length, text, sizeof(text)),
                              ':')) == 0);
        expect(getsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, &size) == 0 && on);
        expect(getsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, &size) == 0 && on);
        expect(cu_close(server) == 0 && cu_close(client) == 0);
    }
    expect(cu_close(fd) == 0);
    return 0;
}

COROUTINE_TEST(bad_addresses)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);
    char text[COPPER_ADDRESS_MAX], long_path[200];
    expect(cu_listen("tcpx", "127.0.0.1:0") == -EINVAL && cu_listen("tcp", "127.0.0.1") == -EINVAL);
    expect(cu_dial("tcp", "::1:80", -1) == -EINVAL && cu_dial("tcp", "[::1:80", -1) == -EINVAL);
    expect(cu_dial("tcp", "127.0.0.1:", -1) == -EINVAL && cu_listen("unix", "") == -EINVAL);
    expect(cu_dial("tcp", "127.0.0.1:no-such-service-name", -1) == -EINVAL);
    expect(cu_dial("tcp6", "127.0.0.1:80", COPPER_SEC) == -ENOENT);
    memset(long_path, 'x', sizeof(long_path));
    long_path[sizeof(long_path) - 1] = 0;
    expect(cu_listen("unix", long_path) == -ENAMETOOLONG);
    expect(cu_dial("unix", "/no/such/path", -1) == -ENOENT);
    expect(cu_listen("unix", "/no/such/path") == -ENOENT);
    int fd = cu_listen("tcp4", "127.0.0.1:0");
    expect(fd >= 0 && cu_local_address(fd, text, sizeof(text)) == 0);
    expect(cu_listen("tcp4", text) == -EADDRINUSE);
    expect(cu_peer_address(fd, text, sizeof(text)) == -ENOTCONN && text[0] == 0);
    expect(cu_resolve("udp", "[::1]:53", (struct sockaddr *)&address, &length) == 0);
    expect(strcmp(cu_address_text((struct sockaddr *)&address, length, text, sizeof(text)),
                  "[::1]:53") == 0);
    length = 4;
    expect(cu_resolve("udp", "1.2.3.4:53", (struct sockaddr *)&address, &length) == -ENAMETOOLONG);
    expect(cu_close(fd) == 0 && cu_local_address(fd, text, sizeof(text)) == -EBADF);
    return 0;
}

/* A port that nobody listens on: it was free a moment ago. */
COROUTINE_TEST(dial_refused)
{
    char text[COPPER_ADDRESS_MAX];
    int fd = cu_listen("tcp4", "127.0.0.1:0");
    expect(cu_local_address(fd, text, sizeof(text)) == 0 && cu_close(fd) == 0);
    expect(cu_dial("tcp", text, 60 * COPPER_SEC) == -ECONNREFUSED);
    return 0;
}

/* A listener that accepts nobody and whose queue is full: connecting waits. */
COROUTINE_TEST(dial_times_out)
{
    char text[COPPER_ADDRESS_MAX];
    int clients[8], error = 0, count = 0;
    int fd = cu_listen("unix", "@copper-net-test-full");
    expect(fd >= 0 && listen(fd, 1) == 0 && cu_local_address(fd, text, sizeof(text)) == 0);
    int64_t start_ns = 0;
    while (error == 0 && count < 8) {
        start_ns = cu_now();
        clients[count] = cu_dial("unix", text, 30 * COPPER_MS);
        error = clients[count] < 0 ? clients[count] : 0;
        count += error == 0;
    }
    expect(error == -ETIMEDOUT && cu_now() - start_ns >= 30 * COPPER_MS);
    for (int i = 0; i < count; i++) {
        cu_close(clients[i]);
    }
    expect(cu_close(fd) == 0);
    return 0;
}

/* One end sends more than the other has read yet; then the reader goes away. */
static void flood(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char *bytes = calloc(1, LARGE);
    ssize_t n;
    while ((n = cu_write(fd, bytes, LARGE)) == (ssize_t)LARGE) {
    }
    must(n > 0 || n == -EPIPE || n == -ECONNRESET);
    n = cu_write(fd, bytes, LARGE);
    must(n == -EPIPE || n == -ECONNRESET);
    must(cu_close(fd) == 0);
    free(bytes);
}

COROUTINE_TEST(large_writes_and_reset)
{
    memset(&s, 0, sizeof(s));
    char *got = malloc(LARGE);
    int fd = cu_listen("tcp4", "127.0.0.1:0");
    expect(got && cu_local_address(fd, s.address, sizeof(s.address)) == 0);
    int client = cu_dial("tcp4", s.address, -1), server = cu_accept(fd, NULL, NULL);
    expect(client >= 0 && server >= 0);
    cu_wg_go(&s.wg, flood, (void *)(intptr_t)client);
    expect(cu_read_full(server, got, LARGE) == LARGE);
    expect(cu_close(server) == 0);
    cu_wg_wait(&s.wg);
    expect(s.failed == 0 && cu_close(fd) == 0);
    free(got);
    return 0;
}

COROUTINE_TEST(datagrams)
{
    char text[COPPER_ADDRESS_MAX], buffer[64];
    struct sockaddr_storage from;
    socklen_t length = sizeof(from);
    int server = cu_listen("udp4", "127.0.0.1:0");
    expect(server >= 0 && cu_local_address(server, text, sizeof(text)) == 0);
    int client = cu_dial("udp4", text, -1);
    expect(client >= 0 && cu_write(client, "ping", 4) == 4);
    ssize_t n = cu_recvfrom(server, buffer, sizeof(buffer), 0, (struct sockaddr *)&from, &length);
    expect(n == 4 && memcmp(buffer, "ping", 4) == 0);
    expect(cu_sendto(server, "pong!", 5, 0, (struct sockaddr *)&from, length) == 5);
    expect(cu_read(client, buffer, sizeof(buffer)) == 5 && memcmp(buffer, "pong!", 5) == 0);
    expect(cu_write(client, "", 0) == 0); /* an empty one is one */
    expect(cu_read(server, buffer, sizeof(buffer)) == 0);
    expect(cu_fd_deadline(server, COPPER_READ, cu_now() + 5 * COPPER_MS) == 0);
    expect(cu_recvfrom(server, buffer, sizeof(buffer), 0, NULL, NULL) == -ETIMEDOUT);
    expect(cu_close(server) == 0 && cu_close(client) == 0);
    int unix_server = cu_listen("unixgram", "@copper-net-test-gram");
    int unix_client = cu_dial("unixgram", "@copper-net-test-gram", -1);
    expect(unix_server >= 0 && unix_client >= 0 && cu_write(unix_client, "abc", 3) == 3);
    expect(cu_read(unix_server, buffer, sizeof(buffer)) == 3);
    expect(cu_close(unix_server) == 0 && cu_close(unix_client) == 0);
    return 0;
}

/* An open file passed over a unix socket, by the message calls. */
COROUTINE_TEST(descriptors_in_messages)
{
    int pair[2], pipe_fds[2], got = -1;
    char byte = 'x', control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
    expect(cu_socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && cu_pipe(pipe_fds) == 0);
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(head), &pipe_fds[1], sizeof(int));
    expect(cu_sendmsg(pair[0], &message, 0) == 1);
    expect(cu_recvmsg(pair[1], &message, MSG_CMSG_CLOEXEC) == 1);
    memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
    expect(got >= 0 && cu_write(got, "y", 1) == 1 && cu_read(pipe_fds[0], &byte, 1) == 1);
    expect(byte == 'y');
    cu_close(got);
    for (int i = 0; i < 2; i++) {
        cu_close(pair[i]);
        cu_close(pipe_fds[i]);
    }
    return 0;
}

/* A listening socket made elsewhere: blocking, and stays so. */
static void *connect_in_thread(void *arg)
{
    int fd = cu_dial("tcp4", arg, 60 * COPPER_SEC);
    must(fd >= 0 && cu_write(fd, "t", 1) == 1 && cu_close(fd) == 0);
    return NULL;
}

COROUTINE_TEST(foreign_listener)
{
    pthread_t thread;
    char byte;
    memset(&s, 0, sizeof(s));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    expect(bind(fd, (struct sockaddr *)&any, sizeof(any)) == 0 && listen(fd, 8) == 0);
    expect(cu_local_address(fd, s.address, sizeof(s.address)) == 0);
    expect(pthread_create(&thread, NULL, connect_in_thread, s.address) == 0);
    int server = cu_accept(fd, NULL, NULL);
    expect(server >= 0 && cu_read(server, &byte, 1) == 1 && byte == 't');
    expect(cu_read(server, &byte, 1) == 0 && cu_close(server) == 0);
    expect((fcntl(fd, F_GETFL) & O_NONBLOCK) == 0);
    pthread_join(thread, NULL);
    /* a foreign socket connects, too */
    int client = socket(AF_INET, SOCK_STREAM, 0);
    socklen_t length = sizeof(any);
    expect(getsockname(fd, (struct sockaddr *)&any, &length) == 0);
    expect(cu_connect(client, (struct sockaddr *)&any, length) == 0);
    expect(cu_close(client) == 0 && cu_close(fd) == 0 && s.failed == 0);
    return 0;
}

COROUTINE_TEST(resolver_errors)
{
    struct addrinfo hints = {.ai_family = AF_INET, .ai_flags = AI_NUMERICHOST}, *list = NULL;
    expect(cu_getaddrinfo("no number", "80", &hints, &list) == -ENOENT && list == NULL);
    expect(cu_getaddrinfo("127.0.0.1", "80", &hints, &list) == 0 && list);
    freeaddrinfo(list);
    hints.ai_family = 12345;
    expect(cu_getaddrinfo("127.0.0.1", "80", &hints, &list) == -EINVAL);
    /* a name that cannot exist: whatever the machine's resolver says, it is an error in time */
    int error = cu_dial("tcp", "copper-test.invalid:80", 20 * COPPER_MS);
    expect(error == -ENOENT || error == -EAGAIN || error == -EIO || error == -ETIMEDOUT);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tcp4),
        cmocka_unit_test(tcp6),
        cmocka_unit_test(unix_stream),
        cmocka_unit_test(names_and_any_address),
        cmocka_unit_test(bad_addresses),
        cmocka_unit_test(dial_refused),
        cmocka_unit_test(dial_times_out),
        cmocka_unit_test(large_writes_and_reset),
        cmocka_unit_test(datagrams),
        cmocka_unit_test(descriptors_in_messages),
        cmocka_unit_test(foreign_listener),
        cmocka_unit_test(resolver_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
