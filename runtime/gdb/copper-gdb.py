# SPDX-License-Identifier: Apache-2.0
"""Coroutines in gdb, of live processes and of core files.

    info coroutines             one line for each
    coroutine ID COMMAND        runs a gdb command in its context: coroutine 7 bt
    coroutine apply all COMMAND

Loaded by itself where gdb trusts the place it is installed in, else by `source copper-gdb.py`. Needs
no debug information of the runtime: it reads the constant `cu_gdb_layout` that the library exports.

A coroutine that stands still has its registers at the top of its stack. While a command runs in its
context, an unwinder tells gdb that the selected thread's innermost frame was called from there. That
changes nothing in the process, so it works on a core file too; the pretended frame is not shown. A
coroutine that runs is shown on its thread.
"""
import re
import struct
import time

import gdb
from gdb.unwinder import Unwinder

FIELDS = ("reasons_count chunk_slots g_size g_state g_id g_parent g_sp g_stack g_site g_entry g_name "
          "g_since g_reason g_object g_is_daemon g_is_main stack_lo stack_hi site_function site_file "
          "site_line state_mask state_runnable state_running state_waiting frame_r15 frame_r14 "
          "frame_r13 frame_r12 frame_bx frame_bp frame_pc frame_size").split()
LATER_FIELDS = "g_is_locked g_locked_m m_tid".split()  # not in each program of this version
HEAD = "<8sIIQQQ"
VERSION = 1
# register -> field
SAVED = {"r15": "frame_r15", "r14": "frame_r14", "r13": "frame_r13", "r12": "frame_r12",
         "rbx": "frame_bx", "rbp": "frame_bp", "rip": "frame_pc"}
WORD = (1 << 64) - 1


def read(address, size):
    return bytes(gdb.selected_inferior().read_memory(address, size))


def word(address):
    return struct.unpack("<Q", read(address, 8))[0]


def text(address, limit=200):
    """A C string; reads no further than its end, because what follows may not be mapped."""
    out = b""
    while address and len(out) < limit:
        piece = read(address + len(out), min(16 - (address + len(out)) % 16, limit))
        out += piece.split(b"\0")[0]
        if b"\0" in piece:
            break
    return out.decode("utf-8", "replace")


class Layout:
    def __init__(self):
        try:
            address = int(gdb.parse_and_eval("(unsigned long)&cu_gdb_layout"))
            head = struct.unpack(HEAD, read(address, struct.calcsize(HEAD)))
        except (gdb.error, gdb.MemoryError):
            raise gdb.GdbError("no copper runtime in this program") from None
        magic, version, size, self.chunks, self.count, self.reasons = head
        if magic.rstrip(b"\0") != b"copper" or version != VERSION:
            raise gdb.GdbError(f"copper-gdb.py knows layout {VERSION}, the program has {version}")
        start = struct.calcsize(HEAD)
        values = struct.unpack(f"<{len(FIELDS)}I", read(address + start, 4 * len(FIELDS)))
        if size < start + 4 * len(FIELDS):
            raise gdb.GdbError("the layout of the program's copper is too short")
        self.__dict__.update(zip(FIELDS, values))
        start += 4 * len(FIELDS)
        later = struct.Struct(f"<{len(LATER_FIELDS)}I")
        self.tells_locked = size >= start + later.size
        if self.tells_locked:
            self.__dict__.update(zip(LATER_FIELDS, later.unpack(read(address + start, later.size))))


class Coroutine:
    def __init__(self, layout, block):
        def at(offset, form):
            return struct.unpack_from("<" + form, block, offset)[0]
        self.layout = layout
        self.id = at(layout.g_id, "q")
        self.parent = at(layout.g_parent, "q")
        self.state = at(layout.g_state, "I") & layout.state_mask
        self.sp = at(layout.g_sp, "Q")
        self.stack = at(layout.g_stack, "Q")
        self.site = at(layout.g_site, "Q")
        self.entry = at(layout.g_entry, "Q")
        self.since_ns = at(layout.g_since, "q")
        self.reason = at(layout.g_reason, "I")
        self.object = at(layout.g_object, "Q")
        self.is_main = at(layout.g_is_main, "?")
        self.name = block[layout.g_name:layout.g_name + 32].split(b"\0")[0].decode("utf-8", "replace")
        self.lo = self.hi = 0
        self.thread = None
        self.locked_tid = 0
        if layout.tells_locked and at(layout.g_is_locked, "?"):
            m = at(layout.g_locked_m, "Q")
            self.locked_tid = struct.unpack("<i", read(m + layout.m_tid, 4))[0]
        if self.stack:
            self.lo, self.hi = word(self.stack + layout.stack_lo), word(self.stack + layout.stack_hi)

    def state_text(self):
        locked = f", locked to thread {self.locked_tid}" if self.locked_tid else ""
        return self.doing() + locked

    def doing(self):
        l = self.layout
        if self.state == l.state_running:
            return f"running, thread {self.thread.num}" if self.thread else "running"
        if self.state == l.state_runnable:
            return "runnable"
        known = self.reason < l.reasons_count
        return text(word(l.reasons + 8 * self.reason)) if known else f"waiting ({self.reason})"

    def spawned(self):
        l = self.layout
        if not self.site:
            return ""
        function, file = (text(word(self.site + o)) for o in (l.site_function, l.site_file))
        line = struct.unpack("<I", read(self.site + l.site_line, 4))[0]
        return f"{function} at {file}:{line}"

    def function(self):
        if self.is_main:
            return "(started by cu_run)"
        block = gdb.execute(f"info symbol {self.entry:#x}", to_string=True)
        return block.split()[0] if " in section" in block else f"{self.entry:#x}"

    def registers(self):
        """What it goes on with; None while it runs or when it never ran."""
        if self.state == self.layout.state_running or not self.stack:
            return None
        regs = {name: word(self.sp + getattr(self.layout, field)) for name, field in SAVED.items()}
        regs["rsp"] = self.sp + self.layout.frame_size
        return regs


def in_every_thread(visit):
    """Calls visit(thread) with each thread selected, and selects the present one again."""
    before = gdb.selected_thread()
    try:
        for thread in gdb.selected_inferior().threads():
            if thread.is_valid():
                thread.switch()
                visit(thread)
    finally:
        if before and before.is_valid():
            before.switch()


def find_threads(coroutines):
    running = [c for c in coroutines if c.state == c.layout.state_running and c.hi]

    def visit(thread):
        try:
            sp = int(gdb.newest_frame().read_register("rsp")) & WORD
        except gdb.error:
            return
        for c in running:
            if c.lo <= sp < c.hi:
                c.thread = thread
    in_every_thread(visit)


def coroutines():
    l = Layout()
    count = struct.unpack("<I", read(l.count, 4))[0]
    found = []
    for first in range(0, count, l.chunk_slots):
        slots = min(l.chunk_slots, count - first)
        chunk = read(word(l.chunks + first // l.chunk_slots * 8), slots * l.g_size)
        for i in range(slots):
            block = chunk[i * l.g_size:(i + 1) * l.g_size]
            state, = struct.unpack_from("<I", block, l.g_state)
            ident, = struct.unpack_from("<q", block, l.g_id)
            if state & l.state_mask and ident:
                found.append(Coroutine(l, block))
    find_threads(found)
    return sorted(found, key=lambda c: c.id)


class FrameId:
    def __init__(self, sp, pc):
        self.sp, self.pc = sp, pc


class Detour(Unwinder):
    """Makes the innermost frame of the selected thread return into a coroutine."""

    def __init__(self):
        super().__init__("copper coroutine")
        self.regs = None
        self.sp = 0

    def __call__(self, pending):
        if self.regs is None:
            return None
        sp = int(pending.read_register("rsp")) & WORD
        if sp != self.sp:
            return None

        kind = pending.read_register("rsp").type
        # below the coroutine's frames, as a callee's frame is
        frame = FrameId(gdb.Value(self.regs["rsp"] - 16).cast(kind),
                        gdb.Value(self.regs["rip"]).cast(kind))
        info = pending.create_unwind_info(frame)
        for name, value in self.regs.items():
            kind = pending.read_register(name).type
            info.add_saved_register(name, gdb.Value(value).cast(kind))
        return info

    def enter(self, regs):
        self.sp = int(gdb.newest_frame().read_register("rsp")) & WORD
        self.regs = regs
        gdb.invalidate_cached_frames()

    def leave(self):
        self.regs = None
        gdb.invalidate_cached_frames()


DETOUR = Detour()
gdb.unwinder.register_unwinder(None, DETOUR, True)


def renumber(trace):
    """A backtrace without its first frame, numbered from 0."""
    blocks = re.split(r"^(?=#\d+ )", trace, flags=re.M)
    shown = [b for b in blocks if b.startswith("#") and not b.startswith("#0 ")]
    rest = "".join(b for b in blocks if not b.startswith("#"))
    out = ""
    for b in shown:
        number = int(re.match(r"#(\d+)", b).group(1)) - 1
        out += re.sub(r"^#\d+ +", f"#{number:<3}", b)
    return rest + out


def one_more(command):
    """`bt 3` counts the frame that is not shown."""
    return re.sub(r"(?<=\s)(\d+)\b", lambda m: str(int(m.group(1)) + 1), command)


def in_coroutine(c, command):
    before = gdb.selected_thread()
    regs = c.registers()
    try:
        if regs is None and c.thread is None:
            print("  (not started)" if not c.stack else "  (its thread was not found)")
        elif regs is None:
            c.thread.switch()
            gdb.execute(command)
        else:
            DETOUR.enter(regs)
            if re.match(r"(bt|backtrace|where)\b", command):
                print(renumber(gdb.execute(one_more(command), to_string=True)), end="")
            else:
                gdb.newest_frame().older().select()
                gdb.execute(command)
    finally:
        DETOUR.leave()
        if before and before.is_valid():
            before.switch()
            gdb.newest_frame().select()


def heading(c):
    name = f' "{c.name}"' if c.name else ""
    spawned = f", spawned by {c.spawned()}" if c.site else ""
    return f"coroutine {c.id}{name} [{c.state_text()}]: {c.function()}{spawned}"


def is_live():
    return bool(re.search(r"process|native|remote|Remote",
                          gdb.execute("info target", to_string=True)[:400])) and \
        "core file" not in gdb.execute("info target", to_string=True)[:4000]


def age(c):
    if c.state != c.layout.state_waiting or not is_live():
        return ""
    return f"{max(0, time.monotonic_ns() - c.since_ns) / 1e9:.1f}s"


class InfoCoroutines(gdb.Command):
    """Lists the coroutines of a program that uses copper: id, state, for how long, name, the function
it runs and where it was spawned. `*` marks those that run."""

    def __init__(self):
        super().__init__("info coroutines", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        rows = [("", "Id", "State", "Since", "Name", "Function", "Spawned by")]
        for c in coroutines():
            mark = "*" if c.state == c.layout.state_running else ""
            rows.append((mark, str(c.id), c.state_text(), age(c), c.name, c.function(), c.spawned()))
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        for row in rows:
            print(" ".join(v.ljust(w) for v, w in zip(row, widths)).rstrip())


class CoroutineCommand(gdb.Command):
    """coroutine ID COMMAND, coroutine apply all COMMAND: runs a gdb command in the context of one
coroutine or of each. Without a command: bt."""

    def __init__(self):
        super().__init__("coroutine", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        words = argument.split(None, 1)
        if words[:1] == ["apply"]:
            rest = words[1].split(None, 1) if len(words) > 1 else []
            if rest[:1] != ["all"]:
                raise gdb.GdbError("coroutine apply all COMMAND")
            for c in coroutines():
                print(heading(c))
                try:
                    in_coroutine(c, rest[1] if len(rest) > 1 else "bt")
                except gdb.error as error:
                    print(f"  {error}")
                print()
            return
        if not words or not words[0].isdigit():
            raise gdb.GdbError("coroutine ID COMMAND, or coroutine apply all COMMAND")
        for c in coroutines():
            if c.id == int(words[0]):
                print(heading(c))
                in_coroutine(c, words[1] if len(words) > 1 else "bt")
                return
        raise gdb.GdbError(f"no coroutine {words[0]}; see info coroutines")


InfoCoroutines()
CoroutineCommand()
