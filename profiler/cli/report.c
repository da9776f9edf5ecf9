/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see report.h.
 *
 * Design. flat is the time (or bytes, or whatever was recorded) in a function itself: the innermost (inlined) function of the leaf; cum is
 * the time of the stacks it is on, once for each stack. Functions of the same name are one line, as
 * in `go tool pprof -top`; addresses without a name are one line for each file. C++ names are made
 * readable by the C++ library, if there is one here.
 */
#include "report.h"

#include "cli.h"
#include "events.h"

#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define COPPER_NAME_WIDTH     100  /* of a function, cut behind */
#define COPPER_VALUE_WIDTH    32
#define COPPER_UNNAMED_SHARE  0.10 /* of the whole, from which missing symbols are worth a line */
#define COPPER_PACKAGE_MAX    128

struct row {
    char *name; /* owned */
    int64_t flat, cum;
    size_t last_sample; /* for which cum was counted, + 1 */
};

/* Rows by name; row_of_function[id] is the row of a function id. */
struct table {
    struct row *rows;
    size_t nrows;
    uint32_t *row_of_function;
    int64_t total;
};

struct named {
    char *name; /* owned; moves on to the row */
    uint32_t function;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

static int by_flat(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    if (x->flat != y->flat) {
        return x->flat < y->flat ? 1 : -1;
    }
    if (x->cum != y->cum) {
        return x->cum < y->cum ? 1 : -1;
    }
    return strcmp(x->name, y->name);
}

/* "libz.so.1.2.13+0x51a0": what stands for a name where there is none. */
static bool is_unnamed(const char *name)
{
    const char *plus = strrchr(name, '+');
    if (!plus || strncmp(plus, "+0x", 3) != 0 || plus[3] == '\0') {
        return false;
    }
    return plus[3 + strspn(plus + 3, "0123456789abcdef")] == '\0';
}

/* The name of the row a function belongs to. Caller frees. */
static char *row_name(const char *function)
{
    char *name;
    if (!is_unnamed(function)) {
        return strdup(function);
    }
    int file = (int)(strrchr(function, '+') - function);
    return asprintf(&name, "%.*s (no symbols)", file, function) < 0 ? NULL : name;
}

/* The names of all functions, equal ones side by side. */
static bool sort_names(const struct cu_pprof *p, struct named *names, size_t n)
{
    for (uint32_t id = 1; id <= n; id++) {
        struct cu_pprof_function f;
        cu_pprof_function_at(p, id, &f);
        names[id - 1] = (struct named){row_name(f.name), id};
        if (!names[id - 1].name) {
            return false;
        }
    }
    if (n > 0) {
        qsort(names, n, sizeof *names, by_name);
    }
    return true;
}

static bool make_rows(const struct cu_pprof *p, struct table *t)
{
    size_t n = cu_pprof_nfunctions(p);
    struct named *names = calloc(n + 1, sizeof *names);
    t->rows = calloc(n + 1, sizeof *t->rows);
    t->row_of_function = calloc(n + 1, sizeof *t->row_of_function);
    bool is_made = names && t->rows && t->row_of_function && sort_names(p, names, n);
    for (size_t i = 0; is_made && i < n; i++) {
        if (t->nrows == 0 || strcmp(names[i].name, t->rows[t->nrows - 1].name) != 0) {
            t->rows[t->nrows++].name = names[i].name;
            names[i].name = NULL;
        }
        t->row_of_function[names[i].function] = (uint32_t)(t->nrows - 1);
    }
    for (size_t i = 0; names && i < n; i++) {
        free(names[i].name);
    }
    free(names);
    return is_made;
}

static void add_sample(const struct cu_pprof *p, const struct cu_pprof_sample *s, size_t index,
                       size_t stamp, struct table *t)
{
    int64_t value = s->values[index];
    t->total += value;
    for (size_t i = 0; i < s->nlocations; i++) {
        const struct cu_pprof_line *lines;
        size_t nlines;
        uint32_t mapping;
        uint64_t address;
        if (!cu_pprof_location_at(p, s->locations[i], &mapping, &address, &lines, &nlines)) {
            continue;
        }
        for (size_t j = 0; j < nlines; j++) {
            struct row *row = &t->rows[t->row_of_function[lines[j].function]];
            if (i == 0 && j == 0) {
                row->flat += value;
            }
            if (row->last_sample != stamp) {
                row->last_sample = stamp;
                row->cum += value;
            }
        }
    }
}

typedef char *demangle_fn(const char *, char *, size_t *, int *);

static demangle_fn *find_demangler(void)
{
    void *lib = dlopen("libstdc++.so.6", RTLD_NOW | RTLD_LOCAL);
    return lib ? (demangle_fn *)dlsym(lib, "__cxa_demangle") : NULL;
}

static void print_row(FILE *to, const struct row *row, int64_t total, const char *unit,
                      demangle_fn *demangle)
{
    int status;
    bool is_mangled = strncmp(row->name, "_Z", 2) == 0 && demangle;
    char *plain = is_mangled ? demangle(row->name, NULL, NULL, &status) : NULL;
    char flat[COPPER_VALUE_WIDTH], cum[COPPER_VALUE_WIDTH];
    double all = total ? (double)total : 1;
    cu__value_text(row->flat, unit, flat, sizeof flat);
    cu__value_text(row->cum, unit, cum, sizeof cum);
    fprintf(to, "%10s %5.1f%% %10s %5.1f%%  %.*s\n", flat, 100 * (double)row->flat / all, cum,
            100 * (double)row->cum / all, COPPER_NAME_WIDTH, plain ? plain : row->name);
    free(plain);
}

static void print_rows(FILE *to, const struct cu_pprof *p, size_t index, struct table *t,
                       size_t rows)
{
    const char *type, *unit;
    cu_pprof_sample_type_at(p, index, &type, &unit);
    demangle_fn *demangle = find_demangler();
    fprintf(to, "%10s %6s %10s %6s  %s\n", "flat", "flat%", "cum", "cum%", "function");
    for (size_t i = 0; i < t->nrows && i < rows && t->rows[i].flat > 0; i++) {
        print_row(to, &t->rows[i], t->total, unit, demangle);
    }
}

void cu__report_table(FILE *to, const struct cu_pprof *p, const char *type, size_t rows)
{
    struct table t = {0};
    if (make_rows(p, &t) && cu_pprof_nsample_types(p) > 0) {
        size_t index = cu__value_index(p, type), n = cu_pprof_nsamples(p);
        for (size_t i = 0; i < n; i++) {
            struct cu_pprof_sample s;
            cu_pprof_sample_at(p, i, &s, NULL, 0);
            add_sample(p, &s, index, i + 1, &t);
        }
        if (t.nrows > 0) {
            qsort(t.rows, t.nrows, sizeof *t.rows, by_flat);
        }
        print_rows(to, p, index, &t, rows);
    }
    for (size_t i = 0; i < t.nrows; i++) {
        free(t.rows[i].name);
    }
    free(t.rows);
    free(t.row_of_function);
}

/* The mapping and value of a sample whose leaf has no name; 0: it has one. */
static uint32_t unnamed_mapping(const struct cu_pprof *p, const struct cu_pprof_sample *s)
{
    const struct cu_pprof_line *lines;
    size_t nlines;
    uint32_t mapping = 0;
    uint64_t address;
    struct cu_pprof_function f;
    if (s->nlocations == 0 ||
        !cu_pprof_location_at(p, s->locations[0], &mapping, &address, &lines, &nlines)) {
        return 0;
    }
    bool is_named = nlines > 0 && cu_pprof_function_at(p, lines[0].function, &f) &&
                    !is_unnamed(f.name);
    return is_named ? 0 : mapping;
}

/* Asks dpkg which package a file is of. False: no package, or no dpkg. */
static bool find_package(const char *path, char out[COPPER_PACKAGE_MAX])
{
    int from[2];
    posix_spawn_file_actions_t actions;
    char *argv[] = {(char[]){"dpkg-query"}, (char[]){"-S"}, NULL, NULL};
    char *copy = strdup(path);
    argv[2] = copy;
    if (!copy || pipe(from) != 0) {
        free(copy);
        return false;
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, from[1], STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", 1, 0);
    posix_spawn_file_actions_addclose(&actions, from[0]);
    pid_t pid;
    bool is_started = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ) == 0;
    posix_spawn_file_actions_destroy(&actions);
    close(from[1]);
    ssize_t n = is_started ? read(from[0], out, COPPER_PACKAGE_MAX - 1) : 0;
    close(from[0]);
    int status = 1;
    if (is_started) {
        waitpid(pid, &status, 0);
    }
    free(copy);
    out[n > 0 ? n : 0] = '\0';
    char *colon = strchr(out, ':');
    if (!colon || status != 0) {
        return false;
    }
    *colon = '\0';
    return true;
}

/* Debian moved /lib into /usr/lib; packages know files by either name. */
static bool find_package_of_file(const char *path, char out[COPPER_PACKAGE_MAX])
{
    if (find_package(path, out)) {
        return true;
    }
    return strncmp(path, "/usr/lib/", 9) == 0 && find_package(path + strlen("/usr"), out);
}

static void advise(const struct cu_pprof *p, uint32_t mapping, double share)
{
    struct cu_pprof_mapping m = {0};
    char package[COPPER_PACKAGE_MAX];
    if (!cu_pprof_mapping_at(p, mapping, &m) || !m.filename) {
        return;
    }
    const char *slash = strrchr(m.filename, '/');
    const char *file = slash ? slash + 1 : m.filename;
    if (slash && find_package_of_file(m.filename, package)) {
        cu__note("%.0f %% of the time is in files without symbols: install %s-dbgsym", 100 * share,
                 package);
    } else {
        cu__note("%.0f %% of the time is in files without symbols, most of it in %s", 100 * share,
                 file);
    }
}

void cu__report_symbols(const struct cu_pprof *p, const char *type)
{
    size_t nmappings = cu_pprof_nmappings(p);
    int64_t *by_mapping = calloc(nmappings + 1, sizeof *by_mapping);
    if (!by_mapping || cu_pprof_nsample_types(p) == 0) {
        free(by_mapping);
        return;
    }
    int64_t total = 0, unnamed = 0;
    size_t index = cu__value_index(p, type);
    for (size_t i = 0; i < cu_pprof_nsamples(p); i++) {
        struct cu_pprof_sample s;
        cu_pprof_sample_at(p, i, &s, NULL, 0);
        uint32_t mapping = unnamed_mapping(p, &s);
        total += s.values[index];
        if (mapping != 0 && mapping <= nmappings) {
            unnamed += s.values[index];
            by_mapping[mapping] += s.values[index];
        }
    }
    uint32_t worst = 0;
    for (uint32_t id = 1; id <= nmappings; id++) {
        worst = by_mapping[id] > by_mapping[worst] ? id : worst;
    }
    if (total > 0 && worst && (double)unnamed >= COPPER_UNNAMED_SHARE * (double)total) {
        advise(p, worst, (double)unnamed / (double)total);
    }
    free(by_mapping);
}
