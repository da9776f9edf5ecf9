/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: C++ exceptions, functions with realigned stacks and lazily bound calls, for
 * stacks_judge.
 */
#include "stacks_judge.h"

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

namespace
{

struct noisy {
    volatile int *count;
    ~noisy()
    {
        ++*count;
    }
};

__attribute__((noinline)) int thrower(int depth, volatile int *count)
{
    noisy guard{count};
    if (depth == 0)
        throw std::runtime_error("bottom");
    return thrower(depth - 1, count) + 1;
}

__attribute__((noinline)) int rethrower(int depth, volatile int *count)
{
    try {
        return thrower(depth, count);
    } catch (const std::runtime_error &e) {
        if (std::strlen(e.what()) == 6)
            throw;
    }
    return 0;
}

/* A frame that is aligned to 64 bytes is found by loading the frame address, not by adding to it.
 */
__attribute__((noinline)) long aligned_inner(volatile long *sink)
{
    alignas(64) volatile long block[16];
    for (int i = 0; i < 16; i++)
        block[i] = *sink + i;
    return block[7];
}

__attribute__((noinline)) long aligned_outer(volatile long *sink, unsigned n)
{
    alignas(64) volatile long block[8];
    volatile char *variable = static_cast<volatile char *>(__builtin_alloca(n));
    variable[n - 1] = 1;
    block[0] = aligned_inner(sink);
    return block[0] + variable[n - 1] + aligned_inner(sink);
}

} // namespace

void judge_realigned(volatile long *sink)
{
    *sink += aligned_outer(sink, 40);
}

void judge_lazy_calls(void)
{
    char text[32];
    std::strcpy(text, "lazily bound");
    volatile size_t n = std::strcspn(text, " ") + std::strspn(text, "abc");
    volatile double x = std::atof("2.5") + std::strtod("1.25", nullptr);
    volatile int r = std::abs(static_cast<int>(n)) + static_cast<int>(x);
    std::vector<std::string> v;
    for (int i = 0; i < 5; i++)
        v.push_back(std::to_string(i + r) + " is a string that does not fit inside");
}

void judge_exceptions(int depth)
{
    volatile int count = 0;
    try {
        rethrower(depth, &count);
    } catch (const std::exception &) {
        count = count + 1;
    }
}
