/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what every program of this folder draws from, and how it says what does not hold.
 */
#ifndef COPPER_TEST_SEEDED_H
#define COPPER_TEST_SEEDED_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* The seed of the round. With it the round's program (though not its interleaving) comes back. */
extern uint64_t stress_seed;

#define check(x)                                                                                   \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: %s does not hold, seed %llu\n", __FILE__, __LINE__, #x,        \
                    (unsigned long long)stress_seed);                                              \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* splitmix64 */
static inline uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

#endif
