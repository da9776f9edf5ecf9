/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see program.h.
 *
 * Design. Only what can be told from the file is judged: its ELF header, its program headers, its
 * mode bits and capabilities. A script is judged by its interpreter; a file that is neither is left
 * to execvp, which gives it to the shell.
 */
#include "cli.h"
#include "program.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define COPPER_INTERPRETERS_MAX 5    /* as the kernel: scripts run by scripts */
#define COPPER_HEAD_BYTES       4096 /* of a file, read for its headers */
#define COPPER_FALLBACK_PATH    "/bin:/usr/bin"

/* Is it a file that may be executed? 0 or an errno value. */
static int executable_error(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        return errno;
    }
    if (S_ISDIR(st.st_mode)) {
        return EISDIR;
    }
    return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) != 0 ? errno : 0;
}

static int report_unusable(const char *name, int error)
{
    cu__error("%s: %s", name, strerror(error));
    return error == ENOENT || error == ENOTDIR ? COPPER_EXIT_NOT_FOUND : COPPER_EXIT_CANNOT_RUN;
}

int cu__program_find(const char *name, char path[PATH_MAX])
{
    if (strchr(name, '/')) {
        int error = executable_error(name);
        if (error || (size_t)snprintf(path, PATH_MAX, "%s", name) >= PATH_MAX) {
            return report_unusable(name, error ? error : ENAMETOOLONG);
        }
        return 0;
    }
    const char *folders = getenv("PATH");
    int worst = ENOENT;
    for (const char *at = folders ? folders : COPPER_FALLBACK_PATH;; at++) {
        size_t n = strcspn(at, ":");
        int length = n ? snprintf(path, PATH_MAX, "%.*s/%s", (int)n, at, name)
                       : snprintf(path, PATH_MAX, "./%s", name); /* an empty entry is this folder */
        if (*name != '\0' && length > 0 && length < PATH_MAX) {
            int error = executable_error(path);
            if (!error) {
                return 0;
            }
            worst = error == EACCES ? EACCES : worst;
        }
        at += n;
        if (*at == '\0') {
            break;
        }
    }
    return report_unusable(*name != '\0' ? name : "\"\"", worst);
}

/* The loader ignores LD_PRELOAD when exec changes who we are. */
static bool changes_identity(const char *path, const char **what, bool *is_group)
{
    struct stat st;
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 || stat(path, &st) != 0) {
        return false;
    }
    *is_group = false;
    if ((st.st_mode & S_ISUID) && st.st_uid != getuid()) {
        *what = "set-user-id";
        return true;
    }
    if ((st.st_mode & S_ISGID) && (st.st_mode & S_IXGRP) && st.st_gid != getgid()) {
        *what = "set-group-id";
        *is_group = true;
        return true;
    }
    if (getuid() != 0 && getxattr(path, "security.capability", NULL, 0) > 0) {
        *what = "given capabilities";
        return true;
    }
    return false;
}

static int check_identity(const char *name, const char *path)
{
    const char *what;
    bool is_group;
    if (!changes_identity(path, &what, &is_group)) {
        return 0;
    }
    cu__error("%s is %s, where the system ignores preload; run it as %s, or link copper::profiler "
              "instead", name, what, is_group ? "its group" : "its owner");
    return COPPER_EXIT_FAILED;
}

static int check_interpreter(const char *name, const char *interpreter)
{
    if (strstr(interpreter, "/ld-musl-")) {
        cu__error("%s uses musl, and preload needs glibc", name);
        return COPPER_EXIT_FAILED;
    }
    if (!strstr(interpreter, "/ld-linux")) {
        cu__error("%s is loaded by %s, and preload needs glibc's loader", name, interpreter);
        return COPPER_EXIT_FAILED;
    }
    return 0;
}

/* The program headers say who loads the program; nobody does where there is no PT_INTERP. */
static int check_elf64(const char *name, int fd, const Elf64_Ehdr *header)
{
    if (header->e_machine != EM_X86_64) {
        cu__error("%s is for another machine (ELF machine %d), and copper for x86-64", name,
                  header->e_machine);
        return COPPER_EXIT_FAILED;
    }
    for (unsigned i = 0; i < header->e_phnum; i++) {
        Elf64_Phdr segment;
        off_t at = (off_t)(header->e_phoff + (uint64_t)i * header->e_phentsize);
        if (pread(fd, &segment, sizeof segment, at) != (ssize_t)sizeof segment) {
            cu__error("%s: its ELF program headers cannot be read", name);
            return COPPER_EXIT_CANNOT_RUN;
        }
        if (segment.p_type == PT_INTERP) {
            char interpreter[PATH_MAX] = "";
            size_t most = sizeof interpreter - 1; /* the last byte stays NUL */
            size_t n = segment.p_filesz < most ? segment.p_filesz : most;
            if (pread(fd, interpreter, n, (off_t)segment.p_offset) != (ssize_t)n) {
                cu__error("%s: its ELF interpreter cannot be read", name);
                return COPPER_EXIT_CANNOT_RUN;
            }
            return check_interpreter(name, interpreter);
        }
    }
    cu__error("%s is statically linked, preload cannot reach it; link copper::profiler instead",
              name);
    return COPPER_EXIT_FAILED;
}

static int check_elf(const char *name, int fd, const unsigned char *head, size_t n)
{
    if (n > EI_CLASS && head[EI_CLASS] == ELFCLASS32) {
        cu__error("%s is a 32-bit program, and copper is 64-bit", name);
        return COPPER_EXIT_FAILED;
    }
    Elf64_Ehdr header;
    if (n < sizeof header) {
        cu__error("%s: its ELF header is cut off", name);
        return COPPER_EXIT_CANNOT_RUN;
    }
    memcpy(&header, head, sizeof header);
    return check_elf64(name, fd, &header);
}

/* "#! interpreter [argument]": the interpreter's path, in place; NULL when the line has none. */
static char *script_interpreter(char *head)
{
    head[strcspn(head, "\n")] = '\0';
    char *path = head + 2 + strspn(head + 2, " \t");
    path[strcspn(path, " \t")] = '\0';
    return *path != '\0' ? path : NULL;
}

static int check_file(const char *name, const char *path, int depth)
{
    char head[COPPER_HEAD_BYTES + 1];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0; /* executable but not readable: nothing can be told, exec will */
    }
    ssize_t n = read(fd, head, COPPER_HEAD_BYTES);
    int status = 0;
    if (n >= SELFMAG && memcmp(head, ELFMAG, SELFMAG) == 0) {
        status = check_elf(name, fd, (const unsigned char *)head, (size_t)n);
        if (!status) {
            status = check_identity(name, path);
        }
    } else if (n > 2 && head[0] == '#' && head[1] == '!' && depth < COPPER_INTERPRETERS_MAX) {
        head[n] = '\0';
        char *interpreter = script_interpreter(head);
        int error = interpreter ? executable_error(interpreter) : ENOEXEC;
        if (error) {
            cu__error("%s: its interpreter %s: %s", name, interpreter ? interpreter : "",
                      strerror(error));
            status = COPPER_EXIT_CANNOT_RUN;
        } else {
            status = check_file(interpreter, interpreter, depth + 1);
        }
    }
    close(fd);
    return status;
}

int cu__program_check(const char *name, const char *path)
{
    return check_file(name, path, 0);
}
