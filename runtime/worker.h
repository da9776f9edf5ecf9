/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what may run before there are workers, and the worker threads themselves.
 */
#ifndef COPPER_RUNTIME_WORKER_H
#define COPPER_RUNTIME_WORKER_H

#include "types.h"

/* config.c: the number of P: COPPER_MAXPROCS, or the CPUs that affinity and the cgroup's quota
 * leave us; at least 1, at most COPPER_PROCS_MAX. Complains once about a bad value. */
uint32_t cu__config_procs(void);
/* The most coroutines: COPPER_MAXCOROUTINES. */
uint32_t cu__config_coroutines(void);

/* The most worker threads: COPPER_MAXTHREADS. */
uint32_t cu__config_threads(void);
/* False: COPPER_HANDOFF=0. */
bool cu__config_handoff(void);
/* For a thread that is started together with the workers: waits until it is known whether all could
 * be. False: no, it is to end. */
bool cu__worker_gate(void);

/* fault.c: the process-wide handler; once. An alternate stack for the calling thread; NULL on want
 * of memory. */
void cu__fault_install(void);
void *cu__fault_stack_install(void);
/* Before the thread ends. */
void cu__fault_stack_remove(void *stack);

#endif
