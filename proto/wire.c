/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: walk protobuf fields; see wire.h.
 */
#include "wire.h"

#include <stdbool.h>

#define COPPER_FIELD_NUMBER_MAX ((1u << 29) - 1)

const char *cu__wire_varint(struct cu__wire *wire, uint64_t *value)
{
    uint64_t sum = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (wire->at == wire->end)
            return "a number is cut short";
        uint8_t byte = *wire->at++;
        if (shift == 63 && byte > 1)
            return "a number is longer than 64 bits";
        sum |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            break;
    }
    *value = sum;
    return NULL;
}

/* Steps over `length` bytes. */
static bool skip(struct cu__wire *wire, uint64_t length)
{
    if (length > (size_t)(wire->end - wire->at))
        return false;
    wire->at += length;
    return true;
}

static const char *read_payload(struct cu__wire *wire, struct cu__field *field)
{
    static const char cut[] = "a field is cut short";
    const char *wrong;
    uint64_t length;
    switch (field->type) {
    case COPPER_WIRE_VARINT:
        return cu__wire_varint(wire, &field->varint);
    case COPPER_WIRE_FIXED64:
        return skip(wire, 8) ? NULL : cut;
    case COPPER_WIRE_FIXED32:
        return skip(wire, 4) ? NULL : cut;
    case COPPER_WIRE_BYTES:
        wrong = cu__wire_varint(wire, &length);
        if (wrong)
            return wrong;
        field->bytes = wire->at;
        field->length = (size_t)length;
        return skip(wire, length) ? NULL : cut;
    }
    return "a field is of no known wire type";
}

const char *cu__wire_field(struct cu__wire *wire, struct cu__field *field)
{
    uint64_t tag;
    const char *wrong = cu__wire_varint(wire, &tag);
    *field = (struct cu__field){0};
    if (wrong)
        return wrong;
    if (tag >> 3 == 0 || tag >> 3 > COPPER_FIELD_NUMBER_MAX)
        return "a field number is out of range";
    field->number = (uint32_t)(tag >> 3);
    field->type = (enum cu__wire_type)(tag & 7);
    return read_payload(wire, field);
}
