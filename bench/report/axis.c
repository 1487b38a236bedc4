/* SPDX-License-Identifier: BSD-3-Clause */
#include "report/axis.h"

#include <math.h>

axis axis_to(double value) {
    static const double steps[] = {1, 2, 5, 10};
    const size_t count = sizeof steps / sizeof *steps;
    const double power = value > 0 ? pow(10, floor(log10(value / 6))) : 1;
    size_t i = 0;
    while (i + 1 < count && value > 6 * steps[i] * power)
        i++;
    const double step = steps[i] * power;
    return (axis){.end = fmax(ceil(value / step), 1) * step, .step = step};
}

double axis_log(double value, double low, double high) { return high > low ? log(value / low) / log(high / low) : 0.5; }
