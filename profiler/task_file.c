/* SPDX-License-Identifier: Apache-2.0 */
#include "task_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

bool cu__read_task_file(pid_t tid, const char *file, char *text, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/%s", (int)tid, file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t n = read(fd, text, size - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n > 0;
}
