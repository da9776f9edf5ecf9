/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see trace_read.h.
 */
#include "trace_read.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct cu__trace_bytes {
    const unsigned char *at, *end;
};

struct cu__trace_batch {
    struct cu__trace_bytes rest;
    struct cu__trace_event head;
    uint64_t unit; /* its time */
};

static void fail(struct cu__trace_reader *t, int err)
{
    t->err = t->err ? t->err : err;
}

/* Room for element number `wanted`; the new ones are zero. */
static bool reach(struct cu__trace_reader *t, void *array, uint32_t *cap, uint64_t wanted,
                  size_t size)
{
    if (wanted < *cap) {
        return true;
    }
    if (wanted > UINT32_MAX / 4) {
        fail(t, -EBADMSG);
        return false;
    }
    uint32_t larger = *cap ? *cap * 2 : 256;
    while (larger <= wanted) {
        larger *= 2;
    }
    char *grown = realloc(*(void **)array, larger * size);
    if (!grown) {
        fail(t, -ENOMEM);
        return false;
    }
    memset(grown + *cap * size, 0, (larger - *cap) * size);
    *(void **)array = grown;
    *cap = larger;
    return true;
}

/* ---- batches and tables ---------------------------------------------------------------------- */

static uint64_t varint(struct cu__trace_reader *t, struct cu__trace_bytes *r)
{
    uint64_t value = 0;
    for (unsigned shift = 0; r->at < r->end && shift < 70; shift += 7) {
        unsigned char byte = *r->at++;
        value |= (uint64_t)(byte & 0x7f) << (shift < 63 ? shift : 63);
        if (byte < 0x80) {
            return value;
        }
    }
    fail(t, -EBADMSG);
    r->at = r->end;
    return 0;
}

/* Arguments after the time; -1: not an event of ours. */
static int args_of(uint8_t type)
{
    switch (type) {
    case COPPER_WIRE_PROC_STOP:
    case COPPER_WIRE_GO_DESTROY:
    case COPPER_WIRE_GO_SYSCALL_END:
    case COPPER_WIRE_GO_SYSCALL_END_BLOCKED:
        return 0;
    case COPPER_WIRE_GO_LABEL:
    case COPPER_WIRE_HEAP_ALLOC:
        return 1;
    case COPPER_WIRE_PROCS_CHANGE:
    case COPPER_WIRE_PROC_START:
    case COPPER_WIRE_PROC_STATUS:
    case COPPER_WIRE_GO_START:
    case COPPER_WIRE_GO_STOP:
    case COPPER_WIRE_GO_BLOCK:
    case COPPER_WIRE_GO_SYSCALL_BEGIN:
    case COPPER_WIRE_TASK_END:
        return 2;
    case COPPER_WIRE_PROC_STEAL:
    case COPPER_WIRE_GO_CREATE:
    case COPPER_WIRE_GO_UNBLOCK:
    case COPPER_WIRE_GO_STATUS:
    case COPPER_WIRE_REGION_BEGIN:
    case COPPER_WIRE_REGION_END:
        return 3;
    case COPPER_WIRE_TASK_BEGIN:
    case COPPER_WIRE_LOG:
        return 4;
    default:
        return -1;
    }
}

/* The next event of a batch; false: there is none. */
static bool step(struct cu__trace_reader *t, struct cu__trace_batch *b)
{
    if (b->rest.at == b->rest.end || t->err) {
        return false;
    }
    int nargs = args_of(*b->rest.at);
    b->head.type = *b->rest.at++;
    b->unit += varint(t, &b->rest);
    b->head.now_ns = (int64_t)(b->unit * COPPER_WIRE_UNIT_NS);
    for (int i = 0; i < nargs; i++) {
        b->head.args[i] = varint(t, &b->rest);
    }
    if (nargs < 0) {
        fail(t, -EBADMSG);
    }
    return !t->err;
}

static void read_string(struct cu__trace_reader *t, struct cu__trace_bytes *r)
{
    uint64_t id = varint(t, r), n = varint(t, r);
    if (n > (uint64_t)(r->end - r->at)) {
        fail(t, -EBADMSG);
    }
    if (!t->err && reach(t, &t->strings, &t->strings_cap, id, sizeof(*t->strings))) {
        t->strings[id] = (struct cu__span){r->at, (size_t)n};
        t->nstrings = id >= t->nstrings ? (uint32_t)id + 1 : t->nstrings;
        r->at += n;
    }
}

/* Remembers where its frames are. */
static void read_stack(struct cu__trace_reader *t, struct cu__trace_bytes *r)
{
    uint64_t id = varint(t, r);
    const unsigned char *from = r->at;
    for (uint64_t words = varint(t, r) * 4; words > 0 && !t->err; words--) {
        varint(t, r);
    }
    if (!t->err && reach(t, &t->stacks, &t->stacks_cap, id, sizeof(*t->stacks))) {
        t->stacks[id] = (struct cu__span){from, (size_t)(r->at - from)};
        t->nstacks = id >= t->nstacks ? (uint32_t)id + 1 : t->nstacks;
    }
}

static void read_table(struct cu__trace_reader *t, struct cu__trace_bytes r)
{
    uint8_t entry = *r.at == COPPER_WIRE_STRINGS ? COPPER_WIRE_STRING : COPPER_WIRE_STACK;
    for (r.at++; r.at < r.end && !t->err;) {
        if (*r.at++ != entry) {
            fail(t, -EBADMSG);
        } else if (entry == COPPER_WIRE_STRING) {
            read_string(t, &r);
        } else {
            read_stack(t, &r);
        }
    }
}

static void read_batch(struct cu__trace_reader *t, struct cu__trace_bytes *r)
{
    if (*r->at++ != COPPER_WIRE_BATCH) {
        fail(t, -EBADMSG);
        return;
    }
    varint(t, r); /* generation */
    struct cu__trace_batch b = {.head.thread = varint(t, r)};
    b.unit = varint(t, r);
    uint64_t n = varint(t, r);
    if (t->err || n > (uint64_t)(r->end - r->at)) {
        fail(t, -EBADMSG);
        return;
    }
    b.rest = (struct cu__trace_bytes){r->at, r->at + n};
    r->at += n;
    if (n == 0 || *b.rest.at == COPPER_WIRE_FREQ || *b.rest.at == COPPER_WIRE_CPU_SAMPLES) {
        return;
    }
    if (*b.rest.at == COPPER_WIRE_STRINGS || *b.rest.at == COPPER_WIRE_STACKS) {
        read_table(t, b.rest);
    } else if (reach(t, &t->batches, &t->batches_cap, t->nbatches, sizeof(*t->batches)) &&
               step(t, &b)) {
        t->batches[t->nbatches++] = b;
    }
}

/* Those of one thread follow each other in memory as they do in time. */
static bool is_before(const struct cu__trace_batch *a, const struct cu__trace_batch *b)
{
    return a->unit != b->unit ? a->unit < b->unit : a->rest.at < b->rest.at;
}

static void sift_down(struct cu__trace_reader *t, uint32_t at)
{
    struct cu__trace_batch moved = t->batches[at];
    for (uint32_t child; (child = 2 * at + 1) < t->nbatches; at = child) {
        if (child + 1 < t->nbatches && is_before(&t->batches[child + 1], &t->batches[child])) {
            child++;
        }
        if (!is_before(&t->batches[child], &moved)) {
            break;
        }
        t->batches[at] = t->batches[child];
    }
    t->batches[at] = moved;
}

/* ---- the generation -------------------------------------------------------------------------- */

int cu__trace_read_begin(struct cu__trace_reader *t, const unsigned char *bytes, size_t n)
{
    struct cu__trace_bytes r = {bytes, bytes + n};
    t->nbatches = t->nstrings = t->nstacks = 0;
    while (r.at < r.end && !t->err) {
        read_batch(t, &r);
    }
    for (uint32_t i = t->nbatches / 2; i-- > 0;) {
        sift_down(t, i);
    }
    return t->err;
}

bool cu__trace_read_next(struct cu__trace_reader *t, struct cu__trace_event *event)
{
    if (t->nbatches == 0 || t->err) {
        return false;
    }
    struct cu__trace_batch *first = &t->batches[0];
    *event = first->head;
    if (!step(t, first)) {
        *first = t->batches[--t->nbatches];
    }
    if (t->nbatches > 0) {
        sift_down(t, 0);
    }
    return true;
}

struct cu__span cu__trace_read_string(const struct cu__trace_reader *t, uint64_t id)
{
    return id && id < t->nstrings ? t->strings[id] : (struct cu__span){NULL, 0};
}

unsigned cu__trace_read_stack(struct cu__trace_reader *t, uint64_t id,
                              struct cu__span functions[COPPER_WIRE_FRAMES_MAX])
{
    if (id == 0 || id >= t->nstacks || !t->stacks[id].bytes) {
        return 0;
    }
    struct cu__trace_bytes r = {t->stacks[id].bytes, t->stacks[id].bytes + t->stacks[id].n};
    unsigned n = 0;
    for (uint64_t left = varint(t, &r); left > 0 && !t->err; left--) {
        n += n < COPPER_WIRE_FRAMES_MAX;
        varint(t, &r); /* pc */
        functions[n - 1] = cu__trace_read_string(t, varint(t, &r));
        varint(t, &r); /* file */
        varint(t, &r); /* line */
    }
    return n;
}

void cu__trace_reader_clear(struct cu__trace_reader *t)
{
    free(t->strings);
    free(t->stacks);
    free(t->batches);
    *t = (struct cu__trace_reader){0};
}
