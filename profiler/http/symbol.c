/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: /debug/pprof/symbol: names for program counters. Clients ask for it when a profile holds
 * addresses without names, as the text forms do.
 *
 * Design. The whole request is read before the answer begins: a client may send all of it before it
 * reads, and a request that turns out too long must still get its error.
 */
#include "census.h"
#include "http_query.h"
#include "routes.h"
#include "shared_symbolizer.h"

#include <copper/stacks.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define COPPER_SYMBOL_BODY_MAX ((size_t)4 << 20) /* bytes of a request: some 200 000 addresses */
#define COPPER_SYMBOL_WORD_MAX 24                /* no number is longer */

struct naming {
    struct cu__answer *answer;
    struct cu_symbolizer *symbols;
    char word[COPPER_SYMBOL_WORD_MAX];
    size_t n;
    bool is_too_long;
};

static void name_word(struct naming *w)
{
    uint64_t pc;
    if (!w->is_too_long && cu__parse_address(w->word, w->n, &pc) && pc != 0) {
        const struct cu_module *m = cu_module_at(pc);
        const char *stand_in = cu__stand_in_name(pc);
        if (m) {
            struct cu_symbol s;
            cu_symbolize(w->symbols, (uint64_t)m->id << 48 | (pc & 0xffffffffffffu), &s);
            cu__answer_printf(w->answer, "0x%" PRIx64 " %.2000s\n", pc, s.lines[0].function);
        } else if (stand_in) {
            cu__answer_printf(w->answer, "0x%" PRIx64 " %s\n", pc, stand_in);
        }
    }
    w->n = 0;
    w->is_too_long = false;
}

static void name_bytes(struct naming *w, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] == '+') {
            name_word(w);
        } else if (w->n < sizeof(w->word)) {
            w->word[w->n++] = bytes[i];
        } else {
            w->is_too_long = true;
        }
    }
}

/* The request's body, which the caller frees. -EFBIG, -ENOMEM, -EPIPE: broken off. */
static int64_t read_body(const struct cu__answer *a, char **out)
{
    const struct cu_http_request *request = a->request;
    size_t n = 0, cap = 0;
    char *body = NULL;
    while (request->read) {
        if (n == cap) {
            cap = cap ? cap * 2 : 16384;
            char *more = cap <= 2 * COPPER_SYMBOL_BODY_MAX ? realloc(body, cap) : NULL;
            if (!more) {
                free(body);
                return -ENOMEM;
            }
            body = more;
        }
        int64_t got = request->read(a->writer->server, body + n, cap - n);
        if (got < 0 || n + (size_t)got > COPPER_SYMBOL_BODY_MAX) {
            free(body);
            return got < 0 ? -EPIPE : -EFBIG;
        }
        if (got == 0) {
            break;
        }
        n += (size_t)got;
    }
    *out = body;
    return (int64_t)n;
}

static void answer_names(struct cu__answer *a, const char *words, size_t n)
{
    struct naming w = {.answer = a, .symbols = cu__symbolizer_borrow()};
    if (!w.symbols) {
        cu__answer_error(a, 500, "out of memory");
        return;
    }
    cu_stacks_prepare();
    if (cu__answer_begin(a, COPPER_TYPE_TEXT, NULL)) {
        cu__answer_printf(a, "num_symbols: 1\n");
        name_bytes(&w, words, n);
        name_word(&w);
    }
    cu__symbolizer_return(w.symbols);
}

void cu__serve_symbol(struct cu__answer *a)
{
    if (strcmp(a->request->method, "POST") != 0) {
        const char *query = a->request->query ? a->request->query : "";
        answer_names(a, query, strlen(query));
        return;
    }
    char *body = NULL;
    int64_t n = read_body(a, &body);
    if (n == -EFBIG) {
        cu__answer_error(a, 413, "a request for symbols may have %zu bytes at most",
                         COPPER_SYMBOL_BODY_MAX);
    } else if (n < 0) {
        cu__answer_error(a, n == -ENOMEM ? 500 : 400,
                         n == -ENOMEM ? "out of memory" : "the request broke off");
    } else {
        answer_names(a, body, (size_t)n);
    }
    free(body);
}
