/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: finish walks off the handler, over a copy of the stack; the only user of libunwind.
 *
 * Design. A walk that ended in MISS goes on with our own tables, which have probably been made
 * since. Where they do not know the way (an expression only libunwind evaluates), libunwind takes
 * one step over the same copy, through its remote interface: all memory it asks for comes from the
 * copy or, for unwind information, from cu__read_self. Its guesses where there is no unwind
 * information are not used. libunwind is opened at first need and privately, because its library
 * also defines _Unwind_*, which must not reach the program we are in.
 *
 * Concurrency. One lock around libunwind, held across fork. Its address space is created without a
 * cache: code at an address may be replaced.
 */
#define UNW_REMOTE_ONLY
#include "internal.h"

#include <dlfcn.h>
#include <libunwind.h>
#include <pthread.h>
#include <string.h>

#define LIBRARY "libunwind-x86_64.so.8"

static struct unwinder {
    unw_addr_space_t (*create)(unw_accessors_t *, int);
    int (*init)(unw_cursor_t *, unw_addr_space_t, void *);
    int (*step)(unw_cursor_t *);
    int (*get)(unw_cursor_t *, int, unw_word_t *);
    int (*search)(unw_addr_space_t, unw_word_t, unw_dyn_info_t *, unw_proc_info_t *, int, void *);
    unw_addr_space_t space;
} unwinder; /* lock: lock */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic uint64_t walks_total, steps_total;

/* One step's view of the world. */
struct step {
    const struct cu__stack *stack;
    const struct cu_regs *regs;
    const struct cu__module *module;
    bool is_found; /* the step was made from unwind information, not guessed */
};

/* ---- what libunwind asks --------------------------------------------------------------------- */

static int find_proc_info(unw_addr_space_t space, unw_word_t pc, unw_proc_info_t *out, int need,
                          void *arg)
{
    struct step *s = arg;
    const struct cu__image *image = s->module->image;
    struct cu__cfi cfi = cu__image_cfi(image);
    struct cu__cfi_index index;
    if (pc < image->base || pc >= image->limit || !image->hdr || !cu__cfi_index(&cfi, &index) ||
        !index.array)
        return -UNW_ENOINFO;
    unw_dyn_info_t info = {
        .format = UNW_INFO_FORMAT_REMOTE_TABLE, .start_ip = image->base, .end_ip = image->limit};
    info.u.rti.segbase = image->hdr;
    info.u.rti.table_data = index.array;
    info.u.rti.table_len = index.nfdes * 8 / sizeof(unw_word_t);
    int err = unwinder.search(space, pc, &info, out, need, arg);
    s->is_found = err == 0;
    return err;
}

static void put_unwind_info(unw_addr_space_t space, unw_proc_info_t *info, void *arg)
{
    (void)space, (void)info, (void)arg; /* libunwind frees what its search allocated */
}

static int get_dyn_info_list_addr(unw_addr_space_t space, unw_word_t *out, void *arg)
{
    (void)space, (void)out, (void)arg;
    return -UNW_ENOINFO;
}

static int access_mem(unw_addr_space_t space, unw_word_t at, unw_word_t *value, int is_write,
                      void *arg)
{
    (void)space;
    const struct step *s = arg;
    if (is_write)
        return -UNW_EINVAL;
    if (at >= s->stack->lo && at < s->stack->hi && s->stack->hi - at >= sizeof *value) {
        memcpy(value, (const void *)(uintptr_t)(at + s->stack->delta), sizeof *value);
        return 0;
    }
    const struct cu__image *image = s->module->image;
    if (at < image->base || at >= image->limit) /* some other stack: it has changed since */
        return -UNW_EINVAL;
    return cu__read_exactly(&cu__self_memory, at, value, sizeof *value) ? 0 : -UNW_EINVAL;
}

static int access_reg(unw_addr_space_t space, unw_regnum_t reg, unw_word_t *value, int is_write,
                      void *arg)
{
    (void)space;
    const struct cu_regs *r = ((const struct step *)arg)->regs;
    if (is_write)
        return -UNW_EINVAL;
    switch (reg) {
    case UNW_X86_64_RIP:
        *value = r->pc;
        return 0;
    case UNW_X86_64_RSP:
        *value = r->sp;
        return 0;
    case UNW_X86_64_RBP:
        *value = r->bp;
        return 0;
    case UNW_X86_64_RBX:
        *value = r->bx;
        return 0;
    case UNW_X86_64_R12:
        *value = r->r12;
        return 0;
    case UNW_X86_64_R13:
        *value = r->r13;
        return 0;
    case UNW_X86_64_R14:
        *value = r->r14;
        return 0;
    case UNW_X86_64_R15:
        *value = r->r15;
        return 0;
    default:
        return -UNW_EBADREG;
    }
}

static int access_fpreg(unw_addr_space_t space, unw_regnum_t reg, unw_fpreg_t *value, int is_write,
                        void *arg)
{
    (void)space, (void)reg, (void)value, (void)is_write, (void)arg;
    return -UNW_EBADREG;
}

static int resume(unw_addr_space_t space, unw_cursor_t *cursor, void *arg)
{
    (void)space, (void)cursor, (void)arg;
    return -UNW_EINVAL;
}

static int get_proc_name(unw_addr_space_t space, unw_word_t at, char *buf, size_t n,
                         unw_word_t *offset, void *arg)
{
    (void)space, (void)at, (void)buf, (void)n, (void)offset, (void)arg;
    return -UNW_ENOINFO;
}

static unw_accessors_t accessors = {
    .find_proc_info = find_proc_info,
    .put_unwind_info = put_unwind_info,
    .get_dyn_info_list_addr = get_dyn_info_list_addr,
    .access_mem = access_mem,
    .access_reg = access_reg,
    .access_fpreg = access_fpreg,
    .resume = resume,
    .get_proc_name = get_proc_name,
};

/* POSIX's way to make a function of dlsym's result */
#define BIND(field, name) (*(void **)&unwinder.field = dlsym(library, name))

static void open_library(void)
{
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return;
    BIND(create, "_Ux86_64_create_addr_space");
    BIND(init, "_Ux86_64_init_remote");
    BIND(step, "_Ux86_64_step");
    BIND(get, "_Ux86_64_get_reg");
    BIND(search, "_Ux86_64_dwarf_search_unwind_table");
    if (unwinder.create && unwinder.init && unwinder.step && unwinder.get && unwinder.search)
        unwinder.space = unwinder.create(&accessors, 0);
}

/* ---- steps ----------------------------------------------------------------------------------- */

static bool read_regs(unw_cursor_t *c, struct cu_regs *out)
{
    static const int number[8] = {UNW_X86_64_RIP, UNW_X86_64_RSP, UNW_X86_64_RBP, UNW_X86_64_RBX,
                                  UNW_X86_64_R12, UNW_X86_64_R13, UNW_X86_64_R14, UNW_X86_64_R15};
    unw_word_t v[8];
    for (int i = 0; i < 8; i++)
        if (unwinder.get(c, number[i], &v[i]) < 0) {
            if (i < 2)
                return false;
            v[i] = 0; /* lost on the way; who needs it ends there */
        }
    *out = (struct cu_regs){v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]};
    return true;
}

/* To the caller of w's frame. MISS: no way; DEPTH: done, go on. */
static enum cu_walk_end step_with_libunwind(struct cu_walk *w, const struct cu__stack *stack,
                                            const struct cu__module *m)
{
    /* libunwind looks up pc - 1 after the first frame only: make the first frame one like that */
    struct cu_regs regs = w->regs, next;
    regs.pc -= w->is_call_site;
    struct step s = {stack, &regs, m, false};
    unw_cursor_t cursor;
    pthread_once(&once, open_library);
    if (!unwinder.space || regs.sp < stack->lo || regs.sp >= stack->hi)
        return COPPER_WALK_MISS;
    pthread_mutex_lock(&lock);
    int step = unwinder.init(&cursor, unwinder.space, &s) == 0 ? unwinder.step(&cursor) : -1;
    bool has_regs = step >= 0 && read_regs(&cursor, &next);
    pthread_mutex_unlock(&lock);
    atomic_fetch_add_explicit(&steps_total, 1, memory_order_relaxed);
    if (!has_regs || !s.is_found)
        return COPPER_WALK_MISS;
    if (step == 0)
        return COPPER_WALK_ROOT;
    if (next.sp <= w->regs.sp)
        return COPPER_WALK_BAD;
    w->regs = next;
    w->is_call_site = true;
    return COPPER_WALK_DEPTH;
}

/* The last frame of w ended in MISS: finds out what can be done. DEPTH: w's regs are the next
 * frame, or *is_first_known says that the same frame deserves another look. */
static enum cu_walk_end overcome_miss(struct cu_walk *w, const struct cu__stack *s,
                                      bool *is_first_known)
{
    uint64_t pc = w->regs.pc - w->is_call_site;
    const struct cu__module *m = cu__module_find_sig(pc, s->epoch, s->is_live);
    *is_first_known = true;
    if (!m && w->n > 1 && w->is_call_site && cu_modules_epoch_sig() == s->epoch &&
        !cu__module_is_any_at(pc)) {
        w->n--; /* nothing was unloaded, and there is no code: unwind information misled us */
        return COPPER_WALK_BAD;
    }
    if (!m)
        return COPPER_WALK_MISS;
    if (cu__prepare_chunk(m, pc))
        return COPPER_WALK_DEPTH;
    *is_first_known = false;
    return step_with_libunwind(w, s, m);
}

void cu_frames_resolve(cu_frame *frames, unsigned n, uint32_t epoch)
{
    for (unsigned i = 0; i < n; i++) {
        if (COPPER_FRAME_MODULE(frames[i]) != 0)
            continue;
        const struct cu__module *m = cu__module_find_sig(COPPER_FRAME_PC(frames[i]), epoch, false);
        if (m)
            frames[i] |= (uint64_t)m->public.id << 48;
    }
}

void cu_stack_walk_copy(struct cu_walk *w, const void *copy, uint64_t copy_at, size_t n,
                        uint32_t epoch)
{
    struct cu__stack s = {copy_at, copy_at + n, (uint64_t)(uintptr_t)copy - copy_at, epoch, false};
    w->context = NULL; /* it was the handler's */
    if (w->end != COPPER_WALK_MISS || w->n == 0)
        return;
    atomic_fetch_add_explicit(&walks_total, 1, memory_order_relaxed);
    cu_frames_resolve(w->frames, w->n, epoch);
    bool is_first_known = true;
    for (;;) { /* each round makes a chunk, appends a frame, or ends */
        cu__walk_full_sig(w, &s, is_first_known);
        if (w->end != COPPER_WALK_MISS)
            return;
        enum cu_walk_end end = overcome_miss(w, &s, &is_first_known);
        if (end != COPPER_WALK_DEPTH) {
            w->end = end;
            return;
        }
    }
}

static void before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void after_fork(void)
{
    pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void watch_fork(void)
{
    pthread_atfork(before_fork, after_fork, after_fork);
}

void cu__unwound_stats(struct cu_stacks_stats *out)
{
    out->misses_unwound = atomic_load_explicit(&walks_total, memory_order_relaxed);
    out->libunwind_steps = atomic_load_explicit(&steps_total, memory_order_relaxed);
}
