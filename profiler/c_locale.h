/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: numbers as machines write and read them. A program that calls setlocale() may have a
 * comma where we mean a point: in /metrics, in ?seconds=0.5, in COPPER_BUDGET=0.5%.
 *
 * Concurrency: the "C" locale is a constant of the C library; getting it allocates nothing.
 */
#ifndef COPPER_C_LOCALE_H
#define COPPER_C_LOCALE_H

#include <locale.h>

static inline locale_t cu__c_locale(void)
{
    return newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

#endif
