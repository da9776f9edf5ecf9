/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: waiting for a profile's window to end.
 */
#ifndef COPPER_WAITING_H
#define COPPER_WAITING_H

#include <stdbool.h>
#include <stdint.h>

/* Waits ns, or shorter when the process is finishing (recorded.h). is_gone is asked many times a
 * second; NULL: nobody to ask. False: it said yes, nobody wants the answer. Blocks its thread. */
bool cu__wait(int64_t ns, bool (*is_gone)(void *ctx), void *ctx);

#endif
