/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: where a debugger finds the coroutines in a process or a core file, without debug
 * information of this library. runtime/gdb/copper-gdb.py reads it.
 *
 * Design: one constant, exported by name, with the addresses of the registry and the offsets of the
 * fields. Fields are only added at the end, with a higher size; what changes its meaning gets a new
 * version, and the script says that it does not know it.
 */
#include <stddef.h>

#include "arch.h"
#include "gstate.h"
#include "registry.h"
#include "types.h"

struct gdb_layout {
    char magic[8];
    uint32_t version, size;
    struct cu__g *const *chunks; /* arrays of chunk_slots control blocks each */
    const uint32_t *count;       /* slots in use */
    const char *const *reasons;
    uint32_t reasons_count, chunk_slots;
    uint32_t g_size, g_state, g_id, g_parent, g_sp, g_stack, g_site, g_entry, g_name, g_since;
    uint32_t g_reason, g_object, g_is_daemon, g_is_main;
    uint32_t stack_lo, stack_hi;
    uint32_t site_function, site_file, site_line;
    uint32_t state_mask, state_runnable, state_running, state_waiting;
    uint32_t frame_r15, frame_r14, frame_r13, frame_r12, frame_bx, frame_bp, frame_pc, frame_size;
    uint32_t g_is_locked, g_locked_m, m_tid;
};

static const char *const reasons[] = {
#define REASON_TEXT(name, text) text,
    COPPER_WAIT_REASONS(REASON_TEXT)
#undef REASON_TEXT
};

#define OF(type, member) offsetof(struct type, member)

extern const struct gdb_layout cu_gdb_layout;
__attribute__((visibility("default"), used)) const struct gdb_layout cu_gdb_layout = {
    .magic = "copper",
    .version = 1,
    .size = sizeof(struct gdb_layout),
    .chunks = cu__registry_chunks,
    .count = &cu__registry_used,
    .reasons = reasons,
    .reasons_count = ARRAY_LEN(reasons),
    .chunk_slots = COPPER_CHUNK_SLOTS,
    .g_size = sizeof(struct cu__g),
    .g_state = OF(cu__g, state),
    .g_id = OF(cu__g, id),
    .g_parent = OF(cu__g, parent),
    .g_sp = OF(cu__g, context.sp),
    .g_stack = OF(cu__g, stack),
    .g_site = OF(cu__g, site),
    .g_entry = OF(cu__g, entry),
    .g_name = OF(cu__g, name),
    .g_since = OF(cu__g, since_ns),
    .g_reason = OF(cu__g, wait.reason),
    .g_object = OF(cu__g, wait.object),
    .g_is_daemon = OF(cu__g, is_daemon),
    .g_is_main = OF(cu__g, is_main),
    .stack_lo = OF(cu__stack, lo),
    .stack_hi = OF(cu__stack, hi),
    .site_function = OF(cu_site, function),
    .site_file = OF(cu_site, file),
    .site_line = OF(cu_site, line),
    .state_mask = CU__G_STATE_MASK,
    .state_runnable = CU__G_RUNNABLE,
    .state_running = CU__G_RUNNING,
    .state_waiting = CU__G_WAITING,
    .frame_r15 = OF(cu__switch_frame, r15),
    .frame_r14 = OF(cu__switch_frame, r14),
    .frame_r13 = OF(cu__switch_frame, r13),
    .frame_r12 = OF(cu__switch_frame, r12),
    .frame_bx = OF(cu__switch_frame, bx),
    .frame_bp = OF(cu__switch_frame, bp),
    .frame_pc = OF(cu__switch_frame, pc),
    .frame_size = sizeof(struct cu__switch_frame),
    .g_is_locked = OF(cu__g, is_locked),
    .g_locked_m = OF(cu__g, locked_m),
    .m_tid = OF(cu__m, tid),
};
