// SPDX-License-Identifier: Apache-2.0
//
// Purpose: C++ exceptions through frames with destructors, for loops.c.

#include <string>

extern "C" int throw_and_catch(int depth);

namespace
{

struct Guard {
    std::string text = std::string(40, 'x');
};

__attribute__((noinline)) void descend(int depth, int value)
{
    Guard guard;
    if (depth == 0) {
        throw value;
    }
    descend(depth - 1, value);
    __asm__ volatile("" : : "r"(guard.text.data()) : "memory"); // no tail call
}

} // namespace

extern "C" int throw_and_catch(int depth)
{
    try {
        descend(depth, depth);
    } catch (int value) {
        return value;
    }
    return -1;
}
