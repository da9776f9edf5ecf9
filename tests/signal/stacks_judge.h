/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the parts of the judged functions that need a compiler or linker setting of their own.
 */
#ifndef STACKS_JUDGE_H
#define STACKS_JUDGE_H

#ifdef __cplusplus
extern "C" {
#endif

void judge_realigned(volatile long *sink); /* functions that align their stack */
void judge_lazy_calls(void);               /* calls whose PLT entries are bound at first use */
void judge_exceptions(int depth);          /* throws, catches, rethrows */

#ifdef __cplusplus
}
#endif
#endif
