/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: one record of a count profile in Go's debug=1 layout: the counted stack as numbers,
 * which `go tool pprof` reads, and as comment lines, which people read.
 *
 * Design. The numbers after '@' are return addresses; the comment lines show the call, one less.
 * Columns are parted by tabs so that they line up at tab stops of 8.
 */
#include "census.h"
#include "named.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define COPPER_TAB        8
#define COPPER_NAME_SHOWN 900 /* bytes of a function's name in a text form */

struct frame_line {
    char name[COPPER_NAME_SHOWN + 24];
    const char *file;
    uint32_t line;
};

/* Line i of a frame's symbol as Go shows it: function+0xoffset. */
static void format_line(const struct cu_symbol *s, size_t i, uint64_t pc, struct frame_line *out)
{
    const struct cu_symbol_line *l = &s->lines[i];
    if (s->is_named && s->start != 0 && pc >= s->start) {
        snprintf(out->name, sizeof(out->name), "%.*s+0x%" PRIx64, COPPER_NAME_SHOWN, l->function,
                 pc - s->start);
    } else {
        snprintf(out->name, sizeof(out->name), "%.*s", COPPER_NAME_SHOWN, l->function);
    }
    out->file = l->file;
    out->line = l->line;
}

/* Writes (or with a NULL answer only measures) the comment lines of a stack. */
static size_t comment_lines(struct cu__answer *a, struct cu_symbolizer *symbols,
                            const cu_frame *frames, unsigned n, size_t width)
{
    size_t widest = 0;
    struct frame_line text;
    for (unsigned i = 0; i < n; i++) {
        struct cu_symbol s;
        uint64_t pc = COPPER_FRAME_PC(frames[i]);
        cu_symbolize(symbols, frames[i], &s);
        for (size_t j = 0; j < s.nlines; j++) {
            format_line(&s, j, pc, &text);
            size_t length = strlen(text.name);
            widest = length > widest ? length : widest;
            if (!a) {
                continue;
            }
            cu__answer_printf(a, "#\t0x%" PRIx64 "\t%s", pc, text.name);
            if (text.file) {
                size_t tabs = (width - length + COPPER_TAB - 1) / COPPER_TAB;
                while (tabs-- > 0) {
                    cu__answer_write(a, "\t", 1);
                }
                cu__answer_printf(a, "%s:%u", text.file, text.line);
            }
            cu__answer_write(a, "\n", 1);
        }
    }
    return widest;
}

void cu__text_stack(struct cu__answer *a, struct cu_symbolizer *symbols, const cu_frame *frames,
                    unsigned nframes, const char *state, const char *labels)
{
    for (unsigned i = 0; i < nframes; i++) {
        cu__answer_printf(a, " 0x%" PRIx64, COPPER_FRAME_PC(frames[i]) + 1);
    }
    uint64_t stand_in = cu__stand_in_address(state);
    if (nframes == 0) {
        cu__answer_printf(a, " 0x%" PRIx64, stand_in + 1);
    }
    cu__answer_write(a, "\n", 1);
    if (labels) {
        cu__answer_printf(a, "# labels: %s\n", labels);
    }
    if (nframes == 0) {
        cu__answer_printf(a, "#\t0x%" PRIx64 "\t%s\n", stand_in, cu__stand_in_name(stand_in));
    } else {
        size_t widest = comment_lines(NULL, symbols, frames, nframes, 0);
        size_t width = (widest / COPPER_TAB + 1) * COPPER_TAB;
        comment_lines(a, symbols, frames, nframes, width);
    }
    cu__answer_write(a, "\n", 1);
}

void cu__text_record(struct cu__answer *a, struct cu_symbolizer *symbols,
                     const struct cu__text_record *r)
{
    if (r->lead) {
        cu__answer_printf(a, "%s @", r->lead);
    } else {
        cu__answer_printf(a, "%" PRIu64 " @", r->count);
    }
    cu__text_stack(a, symbols, r->frames, r->nframes, r->state, r->labels);
}
