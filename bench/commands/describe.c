/* SPDX-License-Identifier: BSD-3-Clause */
#include "commands/describe.h"

#include <stdlib.h>

#include "machine/bandwidth.h"
#include "machine/machine.h"
#include "machine/peak.h"
#include "run/backends.h"

/* Peaks of two threads in terms of one thread's: half of what there is to see is missing. */
#define SHARING_BELOW 1.5

static void print_roofs(size_t threads) {
    printf("measured:  %zu thread%s: ", threads, threads == 1 ? "" : "s");
    for (int type = 0; type < PEAK_TYPES; type++)
        printf("%s peak %.1f GFLOP/s (%s), ", peak_names[type], peak_measure((peak_type)type, threads, 0.05),
               peak_isa((peak_type)type));
    printf("reading from memory %.1f GB/s\n", bandwidth_measure(threads));
}

/* Two processors that share a core, as those of virtual machines do for seconds, together do what one does alone. */
static void print_sharing(void) {
    const double one = peak_measure(PEAK_F32, 1, 0.05), two = peak_measure(PEAK_F32, 2, 0.05);
    if (two < SHARING_BELOW * one)
        printf("note:      two threads at once do %.2f times what one does: their CPUs share a core, now or always\n",
               two / one);
}

int describe_run(const options *o, const char *self) {
    backends set;
    const machine m = machine_read();
    machine_print(&m, stdout);
    for (size_t threads = 1; threads <= m.usable; threads = threads < m.usable ? m.usable : threads + 1)
        print_roofs(threads);
    if (m.usable > 1)
        print_sharing();
    fflush(stdout);
    bool good = backends_start(&set, o, self) && set.running > 0;
    backends_print(&set, stdout);
    backends_stop(&set);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
