/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what the rest of the runtime must tell the signal channels.
 */
#ifndef COPPER_RUNTIME_NOTIFY_H
#define COPPER_RUNTIME_NOTIFY_H

void cu__notify_after_fork(void);

#endif
