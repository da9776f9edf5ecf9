/* SPDX-License-Identifier: Apache-2.0 */
#include <copper/blocking.h>
#include <copper/io.h>
#include <copper/hooks.h>
#include <copper/inspect.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "coroutine_body.h"

static char path[64], other[80];

static int use_a_file(void)
{
    char text[8] = {0}, left[4] = {0};
    struct iovec parts[] = {{left, 3}, {text, 3}};
    struct stat about;
    snprintf(path, sizeof(path), "/tmp/copper-blocking-%d", getpid());
    snprintf(other, sizeof(other), "%s-renamed", path);
    int fd = cu_open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    expect(fd >= 0);
    expect(cu_open(path, O_RDWR | O_CREAT | O_EXCL, 0600) == -EEXIST);
    expect(cu_write(fd, "abcdef", 6) == 6);
    expect(cu_lseek(fd, 0, SEEK_SET) == 0);
    expect(cu_read(fd, text, 3) == 3 && memcmp(text, "abc", 3) == 0);
    expect(cu_pwrite(fd, "XY", 2, 1) == 2);
    expect(cu_pread(fd, text, 4, 0) == 4 && memcmp(text, "aXYd", 4) == 0);
    expect(cu_lseek(fd, 0, SEEK_SET) == 0 && cu_readv(fd, parts, 2) == 6);
    expect(memcmp(left, "aXY", 3) == 0 && memcmp(text, "def", 3) == 0);
    expect(cu_writev(fd, parts, 2) == 6);
    expect(cu_ftruncate(fd, 9) == 0 && cu_fstat(fd, &about) == 0 && about.st_size == 9);
    expect(cu_fsync(fd) == 0 && cu_fdatasync(fd) == 0);
    expect(cu_flock(fd, LOCK_EX) == 0 && cu_flock(fd, LOCK_UN) == 0);
    expect(cu_close(fd) == 0 && cu_close(fd) == -EBADF && cu_read(fd, text, 1) == -EBADF);
    expect(cu_stat(path, &about) == 0 && about.st_size == 9);
    expect(cu_rename(path, other) == 0 && cu_lstat(path, &about) == -ENOENT);
    expect(cu_unlink(other) == 0 && cu_unlink(other) == -ENOENT);
    expect(cu_mkdir(path, 0700) == 0 && cu_mkdir(path, 0700) == -EEXIST);
    fd = cu_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
    expect(fd >= 0 && cu_close(fd) == 0);
    expect(cu_rmdir(path) == 0 && cu_rmdir(path) == -ENOENT);
    return 0;
}

COROUTINE_TEST(files_in_a_coroutine)
{
    return use_a_file();
}

static void files_in_a_thread(void **state)
{
    (void)state;
    assert_int_equal(use_a_file(), 0);
}

COROUTINE_TEST(a_child_is_awaited)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        _exit(7);
    }
    expect(child > 0 && cu_waitpid(child, &status, 0) == child);
    expect(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    expect(cu_waitpid(child, &status, 0) == -ECHILD);
    return 0;
}

/* ---- others go on while one waits in the kernel ---- */

static int pipe_ends[2];

static void answer(void *unused)
{
    (void)unused;
    if (write(pipe_ends[1], "x", 1) != 1) {
        abort();
    }
}

static void read_byte(void *out)
{
    ssize_t n = read(pipe_ends[0], out, 1);
    if (n != 1) {
        abort();
    }
}

COROUTINE_TEST(others_run_during_cu_blocking)
{
    char byte = 0;
    expect(pipe(pipe_ends) == 0);
    for (int i = 0; i < 200; i++) {
        byte = 0;
        cu_go(answer, NULL); /* runs only when we let it: at COPPER_MAXPROCS=1 too */
        cu_blocking(read_byte, &byte);
        expect(byte == 'x');
    }
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    return 0;
}

COROUTINE_TEST(others_run_during_an_announced_call)
{
    char byte = 0;
    expect(pipe(pipe_ends) == 0);
    for (int i = 0; i < 50; i++) {
        byte = 0;
        cu_go(answer, NULL);
        expect(cu_read(pipe_ends[0], &byte, 1) == 1 && byte == 'x');
    }
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    return 0;
}

static void do_nothing(void *unused)
{
    (void)unused;
}

static void blocking_in_a_thread(void **state)
{
    char byte = 0;
    (void)state;
    assert_int_equal(pipe(pipe_ends), 0);
    answer(NULL);
    cu_blocking(read_byte, &byte);
    assert_int_equal(byte, 'x');
    cu_syscall_exit();
    cu_syscall_enter();
    cu_syscall_exit();
    close(pipe_ends[0]);
    close(pipe_ends[1]);
}

/* ---- what tools are told ---- */

static int64_t begun, ended; /* atomic */

static void syscall_begin(void *tool, int64_t now, cu_id g, int p)
{
    (void)tool, (void)now, (void)g, (void)p;
    __atomic_fetch_add(&begun, 1, __ATOMIC_RELAXED);
}

static void syscall_end(void *tool, int64_t now, cu_id g, int p)
{
    (void)tool, (void)now, (void)g, (void)p;
    __atomic_fetch_add(&ended, 1, __ATOMIC_RELAXED);
}

static const struct cu_hooks hooks = {.version = COPPER_HOOKS_VERSION,
                                      .size = sizeof(struct cu_hooks),
                                      .syscall_begin = syscall_begin,
                                      .syscall_end = syscall_end};

COROUTINE_TEST(nested_calls_are_told_once)
{
    expect(cu_hooks_attach(&hooks, NULL) == 0);
    begun = ended = 0;
    cu_syscall_enter();
    cu_syscall_enter();
    expect(begun == 1);
    cu_syscall_exit();
    expect(ended == 0);
    cu_syscall_exit();
    expect(begun == 1 && ended == 1);
    cu_syscall_exit(); /* one too many does no harm */
    cu_blocking(do_nothing, NULL);
    expect(cu_fsync(-1) == -EBADF);
    expect(begun == 3 && ended == 3);
    expect(cu_hooks_detach(&hooks, NULL) == 0);
    return 0;
}

static int64_t sum; /* atomic */

static void enter_and_exit(void *unused)
{
    (void)unused;
    for (int i = 0; i < 2000; i++) {
        cu_syscall_enter();
        cu_syscall_exit();
        if (i % 7 == 0) {
            cu_blocking(do_nothing, NULL);
        }
        if (i % 5 == 0) {
            cu_yield();
        }
        __atomic_fetch_add(&sum, 1, __ATOMIC_RELAXED);
    }
}

COROUTINE_TEST(many_at_once)
{
    cu_wg wg = {0};
    sum = 0;
    for (int i = 0; i < 20; i++) {
        cu_wg_go(&wg, enter_and_exit, NULL);
    }
    cu_wg_wait(&wg);
    expect(sum == 20 * 2000);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_in_a_coroutine),
        cmocka_unit_test(files_in_a_thread),
        cmocka_unit_test(a_child_is_awaited),
        cmocka_unit_test(others_run_during_cu_blocking),
        cmocka_unit_test(others_run_during_an_announced_call),
        cmocka_unit_test(blocking_in_a_thread),
        cmocka_unit_test(nested_calls_are_told_once),
        cmocka_unit_test(many_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
