/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the pages for people: the index of profiles, with what the profiler itself costs; and
 * the command line.
 */
#include "custom.h"
#include "routes.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void write_escaped(struct cu__answer *a, const char *text)
{
    for (; *text; text++) {
        switch (*text) {
        case '<':
            cu__answer_write(a, "&lt;", 4);
            break;
        case '>':
            cu__answer_write(a, "&gt;", 4);
            break;
        case '&':
            cu__answer_write(a, "&amp;", 5);
            break;
        default:
            cu__answer_write(a, text, 1);
        }
    }
}

static void write_cost_line(void *ctx, const char *text)
{
    struct cu__answer *a = ctx;
    cu__answer_printf(a, "<li>");
    write_escaped(a, text);
    cu__answer_printf(a, "</li>\n");
}

/* A profile's row: one that there always is, or one of the program's. */
struct row {
    const struct cu__kind *kind; /* NULL: */
    const struct cu_profile *custom;
};

/* The next row in order of name; false: there is none. */
static bool next_row(struct row *row, size_t *kind, const struct cu_profile *const *customs,
                     size_t ncustoms, size_t *custom)
{
    bool has_kind = *kind < cu__nkinds, has_custom = *custom < ncustoms;
    if (!has_kind && !has_custom) {
        return false;
    }
    bool is_kind = has_kind && (!has_custom || strcmp(cu__kinds[*kind].name,
                                                      cu__custom_name(customs[*custom])) < 0);
    row->kind = is_kind ? &cu__kinds[(*kind)++] : NULL;
    row->custom = is_kind ? NULL : customs[(*custom)++];
    return true;
}

static void write_row(struct cu__answer *a, const struct row *row)
{
    const char *name = row->kind ? row->kind->name : cu__custom_name(row->custom);
    uint64_t count = row->custom        ? cu__custom_count(row->custom)
                     : row->kind->count ? row->kind->count()
                                        : 0;
    cu__answer_printf(a, "<tr><td>%" PRIu64 "</td><td><a href='%s?debug=1'>%s</a></td></tr>\n",
                      count, name, name);
}

static void write_description(struct cu__answer *a, const struct row *row)
{
    const char *name = row->kind ? row->kind->name : cu__custom_name(row->custom);
    cu__answer_printf(a, "<li><div class=profile-name>%s: </div> ", name);
    write_escaped(a, row->kind ? row->kind->description : "Held by the program (cu_profile_add).");
    cu__answer_printf(a, "</li>\n");
}

static void write_rows(struct cu__answer *a,
                       void (*write)(struct cu__answer *a, const struct row *row))
{
    const struct cu_profile *customs[COPPER_CUSTOM_MAX];
    size_t ncustoms = cu__custom_list(customs), kind = 0, custom = 0;
    struct row row;
    while (next_row(&row, &kind, customs, ncustoms, &custom)) {
        write(a, &row);
    }
}

void cu__serve_index(struct cu__answer *a)
{
    if (!cu__answer_begin(a, COPPER_TYPE_HTML, NULL)) {
        return;
    }
    cu__answer_printf(a, "<html>\n<head>\n<title>/debug/pprof/</title>\n"
                         "<style>\n.profile-name{display:inline-block;width:6rem;}\n</style>\n"
                         "</head>\n<body>\n/debug/pprof/\n<br>\n"
                         "<p>Set debug=1 as a query parameter to export in legacy text format</p>\n"
                         "<br>\nTypes of profiles available:\n<table>\n"
                         "<thead><td>Count</td><td>Profile</td></thead>\n");
    write_rows(a, write_row);
    cu__answer_printf(a, "</table>\n<a href=\"goroutine?debug=2\">full goroutine stack dump</a>\n"
                         "<br>\n<p>\nProfile Descriptions:\n<ul>\n");
    write_rows(a, write_description);
    cu__answer_printf(a, "</ul>\n</p>\n<p>\nThe profiler itself:\n<ul>\n");
    cu__self_report(write_cost_line, a);
    cu__answer_printf(a, "</ul>\n</p>\n</body>\n</html>\n");
}

/* The arguments parted by NUL bytes, with none at the end. */
void cu__serve_cmdline(struct cu__answer *a)
{
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        cu__answer_error(a, 500, "cannot read /proc/self/cmdline: %s", strerror(errno));
        return;
    }
    if (cu__answer_begin(a, COPPER_TYPE_TEXT, NULL)) {
        char chunk[4096];
        bool holds_nul = false; /* one that may turn out to be the last byte */
        for (ssize_t n; (n = read(fd, chunk, sizeof(chunk))) > 0;) {
            if (holds_nul) {
                cu__answer_write(a, "", 1);
            }
            holds_nul = chunk[n - 1] == '\0';
            cu__answer_write(a, chunk, (size_t)n - (holds_nul ? 1 : 0));
        }
    }
    close(fd);
}
