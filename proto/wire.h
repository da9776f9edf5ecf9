/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: walk the fields of one protobuf message, without unpacking it.
 *
 * Design: protobuf-c unpacks whole messages only; a whole profile unpacked that way takes many
 * times its size. So the outermost message is walked here, and only what is inside is protobuf-c's.
 */
#ifndef COPPER_PROTO_WIRE_H
#define COPPER_PROTO_WIRE_H

#include <stddef.h>
#include <stdint.h>

enum cu__wire_type {
    COPPER_WIRE_VARINT = 0,
    COPPER_WIRE_FIXED64 = 1,
    COPPER_WIRE_BYTES = 2,
    COPPER_WIRE_FIXED32 = 5,
};

struct cu__wire {
    const uint8_t *at, *end;
};

struct cu__field {
    uint32_t number;
    enum cu__wire_type type;
    uint64_t varint;      /* COPPER_WIRE_VARINT */
    const uint8_t *bytes; /* COPPER_WIRE_BYTES */
    size_t length;
};

/* NULL when well formed, else what is wrong. On success `at` is behind what was read. */
const char *cu__wire_varint(struct cu__wire *wire, uint64_t *value);
/* Only while at < end. */
const char *cu__wire_field(struct cu__wire *wire, struct cu__field *field);

#endif
