/* SPDX-License-Identifier: Apache-2.0
 *
 * copper/copper.h: everything of copper that is installed. The one header for a newcomer; behind it
 * is one header for each concept.
 */
#ifndef COPPER_COPPER_H
#define COPPER_COPPER_H

#include <copper/blocking.h>
#include <copper/chan.h>
#include <copper/context.h>
#include <copper/debug.h>
#include <copper/errgroup.h>
#include <copper/go.h>
#include <copper/hooks.h>
#include <copper/inspect.h>
#include <copper/io.h>
#include <copper/label.h>
#include <copper/select.h>
#include <copper/net.h>
#include <copper/pool.h>
#include <copper/preempt.h>
#include <copper/signal.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <copper/timer.h>

#if defined(__has_include)
#if __has_include(<copper/profiler.h>)
#include <copper/profile.h>
#include <copper/profiler.h>
#include <copper/trace.h>
#endif
#if __has_include(<copper/leakcheck.h>)
#include <copper/leakcheck.h>
#endif
#endif

#endif
