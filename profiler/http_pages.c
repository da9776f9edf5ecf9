/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the pages for people: the index of profiles, with what the profiler itself costs; and
 * the command line.
 */
#include "census.h"
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
    for (size_t i = 0; i < cu__nkinds; i++) {
        const struct cu__kind *k = &cu__kinds[i];
        cu__answer_printf(a, "<tr><td>%" PRIu64 "</td><td><a href='%s?debug=1'>%s</a></td></tr>\n",
                          k->count ? k->count() : 0, k->name, k->name);
    }
    cu__answer_printf(a, "</table>\n<a href=\"goroutine?debug=2\">full goroutine stack dump</a>\n"
                         "<br>\n<p>\nProfile Descriptions:\n<ul>\n");
    for (size_t i = 0; i < cu__nkinds; i++) {
        cu__answer_printf(a, "<li><div class=profile-name>%s: </div> ", cu__kinds[i].name);
        write_escaped(a, cu__kinds[i].description);
        cu__answer_printf(a, "</li>\n");
    }
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
