/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: who listens on a TCP port already? For the sentence "127.0.0.1:6060 is taken by
 * nginx[77]". port_owner.c needs libc only, so that the command can be built with it as it is.
 */
#ifndef COPPER_PORT_OWNER_H
#define COPPER_PORT_OWNER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The process that listens on port (IPv4 or IPv6), and its name. 0: none, or not ours to see. */
pid_t cu__port_owner(uint16_t port, char *name, size_t cap);

#endif
