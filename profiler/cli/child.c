/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see child.h.
 *
 * Design. A failed exec is told through a pipe that a successful one closes.
 */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#define COPPER_SIGNAL_STATUS 128 /* as shells: this plus the signal that ended the program */

static void become_program(const struct cu__launch *l, const sigset_t *mask, int report)
{
    sigprocmask(SIG_SETMASK, mask, NULL);
    int error = cu__launch_exec(l);
    ssize_t ignored = write(report, &error, sizeof error);
    (void)ignored;
    _exit(COPPER_EXIT_CANNOT_RUN);
}

pid_t cu__child_start(const struct cu__launch *l, const sigset_t *mask)
{
    int report[2];
    if (pipe2(report, O_CLOEXEC) != 0) {
        return -errno;
    }
    pid_t pid = fork();
    if (pid == 0) {
        become_program(l, mask, report[1]);
    }
    int error = pid < 0 ? errno : 0;
    close(report[1]);
    if (!error) {
        ssize_t n;
        do {
            n = read(report[0], &error, sizeof error);
        } while (n < 0 && errno == EINTR);
        error = n == (ssize_t)sizeof error ? error : 0;
        if (error) {
            waitpid(pid, NULL, 0);
        }
    }
    close(report[0]);
    return error ? -error : pid;
}

bool cu__child_ended(pid_t pid, int *status)
{
    int how;
    if (waitpid(pid, &how, WNOHANG) != pid) {
        return false;
    }
    *status = WIFEXITED(how) ? WEXITSTATUS(how) : COPPER_SIGNAL_STATUS + WTERMSIG(how);
    return true;
}
