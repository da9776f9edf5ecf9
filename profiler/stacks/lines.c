/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: file, line and inlined calls of an address, from DWARF; the only user of libdw.
 *
 * Design. The debug file is opened directly (dwarf_begin_elf), not through libdwfl: there is then
 * no code path that could ask a debuginfod server. It is read, not mapped, so that a truncated file
 * gives an error and not SIGBUS. The unit of an address is found by the ranges of all units,
 * collected once, because not every compiler writes .debug_aranges.
 *
 * Out of memory, libdw would end the process, by exit() or by an assertion. So it is not asked where
 * memory is short; and instead of exit() it jumps back to us, and what it was reading is not asked again.
 * Names come from the symbol table then.
 */
#include "internal.h"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <fcntl.h>
#include <gelf.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEBUG_FILE_MAX  (512ll << 20) /* bytes; larger files give symbols only */
#define UNIT_RANGES_MAX (1u << 22)
#define PATH_BYTES_MAX  4096
#define ROOM            (16u << 20) /* more than libdw takes for one address */

struct unit_range {
    uint64_t start, limit;
    Dwarf_Off unit;
};

struct cu__lines {
    int fd;
    Elf *elf;
    Dwarf *dwarf;
    struct unit_range *ranges;
    size_t n, cap;
    bool is_spent; /* memory ran out in it */
};

/* Not by malloc: freeing so much would teach it to keep more. */
static bool has_room(void)
{
    void *room = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return room != MAP_FAILED && munmap(room, ROOM) == 0;
}

static __thread jmp_buf *way_back; /* from libdw; while we are in it */

__attribute__((noreturn)) static void out_of_memory(void)
{
    longjmp(*way_back, 1);
}

static bool add_range(struct cu__lines *l, uint64_t start, uint64_t limit, Dwarf_Off unit)
{
    if (start == 0 || limit <= start) /* functions the linker dropped are at 0 */
        return true;
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 256;
        struct unit_range *more =
            cap <= UNIT_RANGES_MAX ? realloc(l->ranges, cap * sizeof *more) : NULL;
        if (!more)
            return false;
        l->ranges = more;
        l->cap = cap;
    }
    l->ranges[l->n++] = (struct unit_range){start, limit, unit};
    return true;
}

static int compare_ranges(const void *a, const void *b)
{
    uint64_t x = ((const struct unit_range *)a)->start, y = ((const struct unit_range *)b)->start;
    return (x > y) - (x < y);
}

static void read_units(struct cu__lines *l)
{
    Dwarf_Off at = 0, next;
    size_t header;
    while (has_room() && dwarf_nextcu(l->dwarf, at, &next, &header, NULL, NULL, NULL) == 0) {
        Dwarf_Die unit;
        Dwarf_Addr base, start, limit;
        ptrdiff_t i = 0;
        bool is_fine = true;
        if (dwarf_offdie(l->dwarf, at + header, &unit))
            while (is_fine && (i = dwarf_ranges(&unit, i, &base, &start, &limit)) > 0)
                is_fine = add_range(l, start, limit, at + header);
        if (!is_fine)
            break;
        at = next;
    }
}

static void collect_units(struct cu__lines *l)
{
    jmp_buf here;
    Dwarf *shared = dwarf_getalt(l->dwarf); /* what several debug files have in common */
    dwarf_new_oom_handler(l->dwarf, out_of_memory);
    if (shared)
        dwarf_new_oom_handler(shared, out_of_memory);
    way_back = &here;
    if (setjmp(here) == 0)
        read_units(l);
    else
        l->is_spent = true;
    if (l->n)
        qsort(l->ranges, l->n, sizeof *l->ranges, compare_ranges);
}

struct cu__lines *cu__lines_open(const char *path)
{
    struct stat st;
    struct cu__lines *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (l->fd >= 0 && fstat(l->fd, &st) == 0 && S_ISREG(st.st_mode) &&
        st.st_size <= DEBUG_FILE_MAX && elf_version(EV_CURRENT) != EV_NONE)
        l->elf = elf_begin(l->fd, ELF_C_READ, NULL);
    if (l->elf && has_room())
        l->dwarf = dwarf_begin_elf(l->elf, DWARF_C_READ, NULL);
    if (l->dwarf)
        collect_units(l);
    if (!l->n) {
        cu__lines_close(l);
        return NULL;
    }
    return l;
}

void cu__lines_close(struct cu__lines *l)
{
    if (!l)
        return;
    if (l->dwarf)
        dwarf_end(l->dwarf);
    if (l->elf)
        elf_end(l->elf);
    if (l->fd >= 0)
        close(l->fd);
    free(l->ranges);
    free(l);
}

static bool find_unit(const struct cu__lines *l, uint64_t address, Dwarf_Die *out)
{
    size_t lo = 0, n = l->n;
    if (address < l->ranges[0].start)
        return false;
    while (n > 1) {
        size_t half = n / 2;
        lo += l->ranges[lo + half].start <= address ? half : 0;
        n -= half;
    }
    return address < l->ranges[lo].limit && dwarf_offdie(l->dwarf, l->ranges[lo].unit, out) != NULL;
}

/* Linkage name if there is one, as symbol tables have it. */
static const char *name_of(Dwarf_Die *die)
{
    Dwarf_Attribute attr;
    const char *name = dwarf_formstring(dwarf_attr_integrate(die, DW_AT_linkage_name, &attr));
    if (!name)
        name = dwarf_formstring(dwarf_attr_integrate(die, DW_AT_MIPS_linkage_name, &attr));
    if (!name)
        name = dwarf_formstring(dwarf_attr_integrate(die, DW_AT_name, &attr));
    return name;
}

static uint32_t number_of(Dwarf_Die *die, unsigned attribute)
{
    Dwarf_Attribute attr;
    Dwarf_Word v;
    return dwarf_formudata(dwarf_attr_integrate(die, attribute, &attr), &v) == 0 && v <= INT32_MAX
               ? (uint32_t)v
               : 0;
}

/* Paths are relative to the unit's directory where the compiler was given relative ones. */
static const char *absolute(Dwarf_Die *unit, const char *path, struct cu__arena *a)
{
    Dwarf_Attribute attr;
    char joined[PATH_BYTES_MAX];
    if (!path || path[0] == '/')
        return path;
    const char *dir = dwarf_formstring(dwarf_attr(unit, DW_AT_comp_dir, &attr));
    if (!dir || strlen(dir) + strlen(path) + 2 > sizeof joined)
        return path;
    size_t n = strlen(dir);
    memcpy(joined, dir, n);
    joined[n] = '/';
    memcpy(joined + n + 1, path, strlen(path) + 1);
    return cu__arena_string(a, joined, strlen(joined));
}

static const char *call_file(Dwarf_Die *unit, Dwarf_Die *call, struct cu__arena *a)
{
    Dwarf_Files *files;
    size_t n;
    uint32_t i = number_of(call, DW_AT_call_file);
    if (dwarf_getsrcfiles(unit, &files, &n) != 0 || i >= n)
        return NULL;
    return absolute(unit, dwarf_filesrc(files, i, NULL, NULL), a);
}

static void innermost_line(Dwarf_Die *unit, uint64_t address, struct cu__arena *a,
                           struct cu_symbol_line *out)
{
    int line = 0;
    Dwarf_Line *at = dwarf_getsrc_die(unit, address);
    out->file = NULL;
    out->line = 0;
    if (!at)
        return;
    out->file = absolute(unit, dwarf_linesrc(at, NULL, NULL), a);
    if (dwarf_lineno(at, &line) == 0 && line > 0)
        out->line = (uint32_t)line;
}

/* The chain of scopes around an address as the machine has them: inlined bodies inside a function.
 */
static int scopes_of(Dwarf_Die *unit, uint64_t address, Dwarf_Die **out)
{
    Dwarf_Die *inner;
    *out = NULL;
    if (dwarf_getscopes(unit, address, &inner) <= 0)
        return 0;
    Dwarf_Die innermost = inner[0];
    free(inner);
    return dwarf_getscopes_die(&innermost, out);
}

/* Marked by its author as no function to show (__attribute__((artificial))): what it does is its
 * caller's. */
static bool is_hidden(Dwarf_Die *scope)
{
    Dwarf_Attribute attribute;
    bool hidden = false;
    return dwarf_tag(scope) == DW_TAG_inlined_subroutine &&
           dwarf_formflag(dwarf_attr_integrate(scope, DW_AT_artificial, &attribute), &hidden) ==
               0 &&
           hidden;
}

static size_t find(struct cu__lines *l, uint64_t address, struct cu__arena *a,
                   struct cu_symbol_line *out, size_t max, uint64_t *start)
{
    Dwarf_Die unit, *scopes;
    struct cu_symbol_line at;
    size_t n = 0;
    if (!find_unit(l, address, &unit))
        return 0;
    memset(&at, 0, sizeof at);
    innermost_line(&unit, address, a, &at);
    int nscopes = scopes_of(&unit, address, &scopes);
    for (int i = 0; i < nscopes && n < max; i++) {
        int tag = dwarf_tag(&scopes[i]);
        if (tag != DW_TAG_inlined_subroutine && tag != DW_TAG_subprogram)
            continue;
        const char *name = name_of(&scopes[i]);
        at.function = name;
        at.start_line = number_of(&scopes[i], DW_AT_decl_line);
        if (name && !is_hidden(&scopes[i]))
            out[n++] = at;
        if (tag == DW_TAG_subprogram) {
            Dwarf_Addr entry;
            if (dwarf_entrypc(&scopes[i], &entry) == 0)
                *start = entry;
            break;
        }
        at.file = call_file(&unit, &scopes[i], a);
        at.line = number_of(&scopes[i], DW_AT_call_line);
    }
    free(scopes);
    if (n == 0 && max && (at.file || at.line)) { /* assembly: a line, but no function */
        at.function = NULL;
        out[n++] = at;
    }
    return n;
}

size_t cu__lines_find(struct cu__lines *l, uint64_t address, struct cu__arena *a,
                      struct cu_symbol_line *out, size_t max, uint64_t *start)
{
    jmp_buf here;
    *start = 0;
    if (l->is_spent || !has_room())
        return 0;
    way_back = &here;
    if (setjmp(here) == 0)
        return find(l, address, a, out, max, start);
    l->is_spent = true;
    *start = 0;
    return 0;
}
