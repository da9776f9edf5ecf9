/* SPDX-License-Identifier: Apache-2.0
 *
 * The server is a guest: starting and stopping it leaves signals as they were, its threads take no
 * signal, fork leaves the child without it, and it can be had again afterwards.
 */
#include <arpa/inet.h>
#include <copper/profiler.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int failures;

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);                       \
            failures++;                                                                            \
        }                                                                                          \
    } while (0)

static void on_pipe(int signo)
{
    (void)signo;
}

static unsigned count_entries(const char *path)
{
    DIR *dir = opendir(path);
    unsigned n = 0;
    for (struct dirent *d; dir && (d = readdir(dir)) != NULL;) {
        n += d->d_name[0] != '.';
    }
    if (dir) {
        closedir(dir);
    }
    return n;
}

/* The mask of blocked signals of every thread but this one. */
static void check_masks(void)
{
    DIR *dir = opendir("/proc/self/task");
    unsigned others = 0;
    for (struct dirent *d; dir && (d = readdir(dir)) != NULL;) {
        char path[300], line[256];
        if (d->d_name[0] == '.' || atoi(d->d_name) == (int)getpid()) {
            continue;
        }
        snprintf(path, sizeof(path), "/proc/self/task/%s/status", d->d_name);
        FILE *f = fopen(path, "re");
        while (f && fgets(line, sizeof(line), f)) {
            if (strncmp(line, "SigBlk:", 7) == 0) {
                unsigned long long mask = strtoull(line + 7, NULL, 16);
                /* all but KILL and STOP, and the two that the C library keeps */
                unsigned long long free_ones =
                    ~mask & ~(1ull << (SIGKILL - 1)) & ~(1ull << (SIGSTOP - 1)) & ~(3ull << 31);
                CHECK(free_ones == 0);
                others++;
            }
        }
        if (f) {
            fclose(f);
        }
    }
    if (dir) {
        closedir(dir);
    }
    CHECK(others >= 3);
}

/* One request; the first bytes of the answer. */
static int ask(const char *address, const char *path, char *answer, size_t cap)
{
    struct sockaddr_in sa = {.sin_family = AF_INET};
    char host[64], request[256];
    snprintf(host, sizeof(host), "%s", address);
    char *colon = strchr(host, ':');
    *colon = '\0';
    inet_pton(AF_INET, host, &sa.sin_addr);
    sa.sin_port = htons((uint16_t)atoi(colon + 1));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) != 0) {
        close(fd);
        return -errno;
    }
    int n = snprintf(request, sizeof(request), "GET %s HTTP/1.0\r\n\r\n", path);
    CHECK(send(fd, request, (size_t)n, MSG_NOSIGNAL) == n);
    size_t got = 0;
    for (ssize_t r; got + 1 < cap && (r = recv(fd, answer + got, cap - 1 - got, 0)) > 0;) {
        got += (size_t)r;
    }
    answer[got] = '\0';
    close(fd);
    return 0;
}

static void with_pipe_action(void (*handler)(int))
{
    struct sigaction sa = {.sa_handler = handler}, now;
    sigset_t before, after;
    char answer[512], address[64];
    sigaddset(&sa.sa_mask, SIGUSR2);
    sigaction(SIGPIPE, &sa, NULL);
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    CHECK(cu_pprof_address() == NULL);
    CHECK(cu_pprof_serve("127.0.0.1:0") == 0);
    CHECK(cu_pprof_serve("127.0.0.1:0") == -EALREADY);
    sigaction(SIGPIPE, NULL, &now);
    CHECK(now.sa_handler == handler);
    CHECK(sigismember(&now.sa_mask, SIGUSR2) == 1);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    for (int signo = 1; signo <= SIGRTMAX; signo++) {
        CHECK(sigismember(&before, signo) == sigismember(&after, signo));
    }
    const char *serving = cu_pprof_address();
    CHECK(serving && strncmp(serving, "127.0.0.1:", 10) == 0);
    snprintf(address, sizeof(address), "%s", serving ? serving : "127.0.0.1:1");
    CHECK(ask(address, "/debug/pprof/cmdline", answer, sizeof(answer)) == 0);
    CHECK(strstr(answer, "200 OK") && strstr(answer, "http_fence"));
    check_masks();
    cu_pprof_stop();
    CHECK(cu_pprof_address() == NULL);
    CHECK(ask(address, "/debug/pprof/", answer, sizeof(answer)) == -ECONNREFUSED);
    sigaction(SIGPIPE, NULL, &now);
    CHECK(now.sa_handler == handler);
    CHECK(count_entries("/proc/self/task") <= 2); /* the collector may stay */
}

struct cut {
    char address[64];
    bool is_cut;
};

static void *ask_long(void *arg)
{
    struct cut *c = arg;
    char answer[512];
    ask(c->address, "/debug/pprof/profile?seconds=60", answer, sizeof(answer));
    c->is_cut = true;
    return NULL;
}

/* Stopping does not wait for a client's 60 seconds. */
static void stop_cuts(void)
{
    struct cut c = {.is_cut = false};
    pthread_t t;
    CHECK(cu_pprof_serve("127.0.0.1:0") == 0);
    snprintf(c.address, sizeof(c.address), "%s", cu_pprof_address());
    pthread_create(&t, NULL, ask_long, &c);
    usleep(300000);
    cu_pprof_stop();
    pthread_join(t, NULL);
    CHECK(c.is_cut);
}

/* A taken address can be had by the parent's successor although a forked child lives on. */
static void fork_child(void)
{
    char address[64], answer[512];
    int hold[2], status = -1;
    CHECK(pipe(hold) == 0);
    CHECK(cu_pprof_serve("127.0.0.1:0") == 0);
    snprintf(address, sizeof(address), "%s", cu_pprof_address());
    pid_t child = fork();
    if (child == 0) {
        char byte;
        failures = 0;
        CHECK(cu_pprof_address() == NULL);
        CHECK(cu_pprof_serve(address) == -EADDRINUSE);
        CHECK(cu_pprof_serve("127.0.0.1:0") == 0);
        CHECK(ask(cu_pprof_address(), "/debug/pprof/cmdline", answer, sizeof(answer)) == 0);
        CHECK(strstr(answer, "200 OK") != NULL);
        close(hold[1]);
        CHECK(read(hold[0], &byte, 1) == 0);
        exit(failures ? 1 : 0);
    }
    usleep(300000);
    cu_pprof_stop();
    CHECK(cu_pprof_serve(address) == 0); /* the child does not hold it */
    close(hold[1]);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(ask(address, "/debug/pprof/", answer, sizeof(answer)) == 0);
    cu_pprof_stop();
}

static void addresses(void)
{
    static const char *const bad[] = {
        "",           "127.0.0.1",    ":6060",           "127.0.0.1:",
        "x:1",        "127.0.0.1:x",  "127.0.0.1:65536", "1.2.3:4",
        "[::1]:6060", "127.0.0.1:-1", "127.0.0.1: 1",    "a.b.c:123456"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (cu_pprof_serve(bad[i]) != -EINVAL) {
            printf("\"%s\" was not refused\n", bad[i]);
            failures++;
        }
    }
    CHECK(cu_pprof_serve(NULL) == -EINVAL);
    unsetenv("COPPER_TOKEN_FILE");
    CHECK(cu_pprof_serve("0.0.0.0:0") == -EACCES);
    CHECK(cu_pprof_serve("192.0.2.1:6060") == -EACCES);
    CHECK(cu_pprof_serve("localhost:0") == 0);
    CHECK(strncmp(cu_pprof_address(), "127.0.0.1:", 10) == 0);
    cu_pprof_stop();
    cu_pprof_stop();
}

int main(void)
{
    unsigned files = count_entries("/proc/self/fd");
    with_pipe_action(SIG_DFL);
    with_pipe_action(SIG_IGN);
    with_pipe_action(on_pipe);
    stop_cuts();
    fork_child();
    addresses();
    /* the collector and the symbolizer may keep some open; ten servers would show */
    CHECK(count_entries("/proc/self/fd") <= files + 8);
    printf("%d failures\n", failures);
    return failures ? 1 : 0;
}
