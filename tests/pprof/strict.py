# SPDX-License-Identifier: Apache-2.0
"""What the strictest reader of pprof demands, of all readers at once, checked on the bytes."""
import time

from http_support import check


def _varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def fields(data):
    """(number, value) of each field: an integer or bytes."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        if tag & 7 == 0:
            value, at = _varint(data, at)
        elif tag & 7 == 2:
            n, at = _varint(data, at)
            value, at = data[at:at + n], at + n
        else:
            raise ValueError("wire type %d" % (tag & 7))
        yield tag >> 3, value


def integers(values):
    """Repeated integers, packed or not."""
    out = []
    for value in values:
        if isinstance(value, int):
            out.append(value)
        else:
            at = 0
            while at < len(value):
                v, at = _varint(value, at)
                out.append(v)
    return [v - (1 << 64) if v >> 63 else v for v in out]


def group(data):
    out = {}
    for number, value in fields(data):
        out.setdefault(number, []).append(value)
    return out


def strict(name, data, is_delta=False):
    """Checks an unpacked profile; returns {type: sum of values} and the list of label keys."""
    def demand(condition, text):
        check(condition, "strict %s: %s" % (name, text))

    p = group(data)
    strings = p.get(6, [])
    demand(strings and strings[0] == b"", "string 0 is empty")
    demand(len(set(strings)) == len(strings), "strings are stored once")
    texts = []
    for s in strings:
        try:
            texts.append(s.decode("utf-8"))
        except UnicodeDecodeError:
            texts.append("")
            demand(False, "UTF-8: %r" % s)

    def one(message, number):
        return integers(message.get(number, [0]))[0]

    def text(message, number):
        index = one(message, number)
        demand(0 <= index < len(texts), "string index in range")
        return texts[index] if 0 <= index < len(texts) else ""

    types = [text(group(v), 1) for v in p.get(1, [])]
    units = [text(group(v), 2) for v in p.get(1, [])]
    demand(types and all(types) and all(units), "sample types have type and unit")
    demand(not any("-" in t for t in types), "no '-' in sample types")
    demand(11 in p and text(group(p[11][0]), 1) and text(group(p[11][0]), 2),
           "period type is there")
    for what, number in (("mapping", 3), ("location", 4), ("function", 5)):
        ids = [one(group(m), 1) for m in p.get(number, [])]
        demand(ids == list(range(1, len(ids) + 1)), "%s ids are 1, 2, 3, ..." % what)
    demand(p.get(3), "a mapping is there")
    nfunctions, nmappings, nlocations = (len(p.get(n, [])) for n in (5, 3, 4))
    functions_used, addresses = set(), set()
    for raw in p.get(4, []):
        location = group(raw)
        demand(1 <= one(location, 2) <= nmappings, "location has a mapping")
        address = one(location, 3)
        demand(address != 0, "location has an address")
        demand(address not in addresses, "address 0x%x stands once" % (address & (2**64 - 1)))
        addresses.add(address)
        demand(location.get(4), "location has a line")
        for line in location.get(4, []):
            functions_used.add(one(group(line), 1))
    demand(functions_used <= set(range(1, nfunctions + 1)), "lines point at functions")
    demand(len(functions_used) == nfunctions, "every function is used")
    for raw in p.get(5, []):
        demand(text(group(raw), 2), "functions have names")
    for raw in p.get(3, []):
        demand(one(group(raw), 7), "mappings have functions")
    sums, keys = [0] * len(types), set()
    samples = p.get(2, [])
    demand(len(samples) <= 16000, "at most 16000 samples")
    demand(len(data) <= 4 << 20, "at most 4 MiB")
    units_of = {}
    for raw in samples:
        sample = group(raw)
        locations, values = integers(sample.get(1, [])), integers(sample.get(2, []))
        demand(len(values) == len(types), "one value for each type")
        demand(is_delta or all(v >= 0 for v in values), "no negative value")
        demand(locations and all(1 <= l <= nlocations for l in locations), "locations exist")
        demand(len(locations) <= 1000, "at most 1000 frames")
        sums = [a + b for a, b in zip(sums, values)]
        labels = [group(l) for l in sample.get(3, [])]
        found = [text(l, 1) for l in labels]
        demand(len(set(found)) == len(found), "one value for each label key")
        demand(all(found), "label keys are not empty")
        for key, label in zip(found, labels):
            demand(not key.startswith("pprof::"), "label key %s is reserved" % key)
            kind = "string" if one(label, 2) else "number " + text(label, 4)
            demand(units_of.setdefault(key, kind) == kind, "label %s has one unit" % key)
        keys.update(found)
    stamp = one(p, 9)
    demand(abs(stamp / 1e9 - time.time()) < 600, "time is about now")
    return dict(zip(types, sums)), keys
