/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see service.h.
 *
 * Design: counting, not naming: threads in /proc/self/task, less our workers, less the services
 * that are alive, less those that wait in our calls. Each of these counts goes up after the thread
 * is there and down before it is gone or goes on, and what comes or goes while the list is read
 * does not count, so an error can only make a foreign thread of one of ours. A main thread that
 * ended by pthread_exit stays in the list as a zombie and is no thread any more.
 *
 * Concurrency: the services are an array of atomic thread ids; a thread is taken out of it by a
 * thread-specific destructor when it ends.
 */
#include "service.h"

#include <copper/inspect.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "types.h"
#include "watch.h"

#define SERVICES_MAX 128

static int32_t services[SERVICES_MAX]; /* any: atomic; 0: free */
static int32_t services_count;         /* any: atomic */
static int32_t blocked;                /* any: atomic */
static pthread_key_t key;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static bool has_key;

static void leave(void *place)
{
    __atomic_fetch_sub(&services_count, 1, __ATOMIC_SEQ_CST);
    store_release((int32_t *)place, 0);
}

static void make_key(void)
{
    has_key = pthread_key_create(&key, leave) == 0;
}

int cu_service_thread_begin(void)
{
    int32_t tid = gettid();
    if (cu_service_thread_is(tid)) {
        return 0;
    }
    pthread_once(&key_once, make_key);
    for (size_t i = 0; i < SERVICES_MAX && has_key; i++) {
        int32_t free_place = 0;
        if (cas_seq(&services[i], &free_place, tid)) {
            if (pthread_setspecific(key, &services[i])) {
                store_release(&services[i], 0);
                return -EAGAIN;
            }
            add_seq(&services_count, 1);
            return 0;
        }
    }
    return -EAGAIN;
}

bool cu_service_thread_is(int32_t tid)
{
    for (size_t i = 0; i < SERVICES_MAX; i++) {
        if (load_acquire(&services[i]) == tid) {
            return true;
        }
    }
    return false;
}

void cu__thread_blocks(void)
{
    add_seq(&blocked, 1);
    cu__watch_idle();
}

void cu__thread_is_woken(void)
{
    sub_seq(&blocked, 1);
}

int32_t cu__threads_blocked(void)
{
    return load_seq(&blocked);
}

static int32_t count_tasks(void)
{
    int32_t count = 0;
    DIR *dir = opendir("/proc/self/task");
    if (dir == NULL) {
        return -errno;
    }
    for (const struct dirent *e; (e = readdir(dir)) != NULL;) {
        count += e->d_name[0] != '.';
    }
    closedir(dir);
    return count;
}

/* The state letter follows the name, which may have any characters, in parentheses. */
static bool main_thread_has_ended(void)
{
    char path[48], text[256];
    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", getpid());
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0) {
        close(fd);
    }
    if (n <= 0) {
        return false;
    }
    text[n] = 0;
    const char *end = strrchr(text, ')');
    return end && end[1] == ' ' && end[2] == 'Z';
}

static int32_t count_ours(void)
{
    return (int32_t)load_seq(&cu__sched.workers_count) + load_seq(&services_count) +
           cu__threads_blocked();
}

int32_t cu__threads_foreign(void)
{
    int32_t before = count_ours(), tasks = count_tasks(), after = count_ours();
    if (tasks < 0) {
        return tasks;
    }
    tasks -= before < after ? before : after;
    return tasks == 1 && main_thread_has_ended() ? 0 : tasks;
}

void cu__service_after_fork(void)
{
    memset(services, 0, sizeof(services));
    services_count = 0;
    blocked = 0;
    if (has_key) {
        pthread_setspecific(key, NULL);
    }
}
