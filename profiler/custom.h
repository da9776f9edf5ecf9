/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the profiles that the program makes itself (cu_profile_new), for those who serve them.
 * What there always is, is in kinds.h.
 */
#ifndef COPPER_CUSTOM_H
#define COPPER_CUSTOM_H

#include "named.h"

#include <stddef.h>
#include <stdint.h>

#define COPPER_CUSTOM_MAX      64u /* of them in a process */
#define COPPER_CUSTOM_NAME_MAX 64u /* bytes of a name and its zero */

struct cu_profile;

/* By name; NULL: the program made none. They stay for ever. */
const struct cu_profile *cu__custom_find(const char *name);
/* All of them, in order of name; how many. */
size_t cu__custom_list(const struct cu_profile *out[COPPER_CUSTOM_MAX]);
const char *cu__custom_name(const struct cu_profile *p);
uint64_t cu__custom_count(const struct cu_profile *p);

/* As the makers of named.h. */
int cu__custom_profile(const struct cu_profile *p, struct cu_pprof **out);
int cu__custom_text(const struct cu_profile *p, struct cu__answer *a);

#endif
