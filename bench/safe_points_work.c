/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the same work in two dresses: compiled as WORK=plain and, in a preemptible target, as
 * WORK=safe.
 */
#include "safe_points_work.h"

#define JOIN_(a, b) a##b
#define JOIN(a, b)  JOIN_(a, b)
#define NAME(what)  JOIN(WORK, what)

static uint64_t sum(const uint32_t *a, uint32_t n)
{
    uint64_t s = 0;
    for (uint32_t i = 0; i < n; i++) {
        s += a[i];
    }
    return s;
}

static uint64_t hash(const uint32_t *a, uint32_t n)
{
    const unsigned char *byte = (const unsigned char *)a;
    uint64_t h = 14695981039346656037u;
    for (uint32_t i = 0; i < n; i++) {
        h = (h ^ byte[i]) * 1099511628211u;
    }
    return h;
}

static uint64_t collatz(const uint32_t *a, uint32_t n)
{
    uint64_t x = 3, steps = 0;
    for (uint32_t i = 0; i < n; i++) {
        x = x == 1 ? a[steps++ % 64] + 3 : x % 2 ? 3 * x + 1 : x / 2;
    }
    return x + steps;
}

static uint64_t fibonacci(uint32_t n)
{
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static uint64_t recurse(const uint32_t *a, uint32_t n)
{
    uint32_t k = 1;
    for (uint64_t calls = 1, before = 1; calls < n; k++) {
        uint64_t next = calls + before + 1;
        before = calls;
        calls = next;
    }
    return fibonacci(k) + a[0];
}

/* 64 by 64, as often as makes n multiplications */
static uint64_t multiply(const uint32_t *a, uint32_t n)
{
    static double left[64][64], right[64][64], out[64][64];
    for (uint32_t i = 0; i < 64 * 64; i++) {
        left[i / 64][i % 64] = right[i % 64][i / 64] = a[i % 64];
    }
    for (uint32_t done = 0; done < n; done += 64 * 64 * 64) {
        for (uint32_t i = 0; i < 64; i++) {
            for (uint32_t k = 0; k < 64; k++) {
                for (uint32_t j = 0; j < 64; j++) {
                    out[i][j] += left[i][k] * right[k][j];
                }
            }
        }
    }
    return (uint64_t)out[5][7];
}

const struct work NAME(_work)[] = {{"sum", sum},           {"hash", hash},
                                   {"collatz", collatz},   {"recurse", recurse},
                                   {"multiply", multiply}, {NULL, NULL}};
