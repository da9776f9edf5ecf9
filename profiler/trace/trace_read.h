/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: a generation of a trace, as the recorder made it (trace_wire.h), back into events in
 * order of time, with the texts and stacks that they name.
 *
 * Design. All batches are found first, and the two tables, of which places in the bytes are kept.
 * A heap of batches by the time of their next event gives that of all. Every byte is checked: what
 * is no generation fails.
 *
 * Concurrency: one thread at a time. A failure is sticky: err.
 */
#ifndef COPPER_TRACE_READ_H
#define COPPER_TRACE_READ_H

#include "trace_wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the generation; NULL: there is none. */
struct cu__span {
    const unsigned char *bytes;
    size_t n;
};

struct cu__trace_event {
    uint64_t thread;
    int64_t now_ns;
    uint8_t type; /* enum cu__wire_type */
    uint64_t args[6];
};

/* All zero is a new one. */
struct cu__trace_reader {
    int err;                           /* -ENOMEM; -EBADMSG: these are no bytes of the recorder */
    struct cu__span *strings, *stacks; /* by id */
    uint32_t nstrings, nstacks, strings_cap, stacks_cap;
    struct cu__trace_batch *batches; /* a heap: the earliest first */
    uint32_t nbatches, batches_cap;
};

/* Begins with a generation, whose bytes stay until the last of the calls below. 0 or err. */
int cu__trace_read_begin(struct cu__trace_reader *t, const unsigned char *bytes, size_t n);
/* The next event; false: there is none, or err. */
bool cu__trace_read_next(struct cu__trace_reader *t, struct cu__trace_event *event);
struct cu__span cu__trace_read_string(const struct cu__trace_reader *t, uint64_t id);
/* The functions of a stack, leaf first. How many; of more than fit the last one is the outermost.
 */
unsigned cu__trace_read_stack(struct cu__trace_reader *t, uint64_t id,
                              struct cu__span functions[COPPER_WIRE_FRAMES_MAX]);
void cu__trace_reader_clear(struct cu__trace_reader *t);

#endif
