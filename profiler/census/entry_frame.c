/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see entry_frame.h.
 */
#include "entry_frame.h"

#define ROOT_FRAMES 2u /* the runtime's own at the end of each whole stack */

cu_frame cu__frame_at(uint64_t pc)
{
    const struct cu_module *m = cu_module_at(pc);
    return (uint64_t)(m ? m->id : 0) << 48 | (pc & 0xffffffffffffu);
}

unsigned cu__entry_restore(cu_frame *frames, unsigned n, uint64_t entry)
{
    if (entry == 0 || n < ROOT_FRAMES) {
        return n;
    }
    unsigned at = n - ROOT_FRAMES;
    cu_frame missing = cu__frame_at(entry);
    if (at > 0 && COPPER_FRAME_MODULE(frames[at - 1]) == COPPER_FRAME_MODULE(missing)) {
        return n;
    }
    for (unsigned i = n; i > at; i--) {
        frames[i] = frames[i - 1];
    }
    frames[at] = missing;
    return n + 1;
}
