/* SPDX-License-Identifier: BSD-3-Clause */
#include "commands/describe.h"

#include <stdlib.h>

#include "machine/bandwidth.h"
#include "machine/machine.h"
#include "machine/peak.h"
#include "run/backends.h"

static void print_roofs(size_t threads) {
    printf("measured:  %zu thread%s: ", threads, threads == 1 ? "" : "s");
    for (int type = 0; type < PEAK_TYPES; type++)
        printf("%s peak %.1f GFLOP/s (%s), ", peak_names[type], peak_measure((peak_type)type, threads, 0.05),
               peak_isa((peak_type)type));
    printf("reading from memory %.1f GB/s\n", bandwidth_measure(threads));
}

int describe_run(const options *o, const char *self) {
    backends set;
    const machine m = machine_read();
    machine_print(&m, stdout);
    for (size_t threads = 1; threads <= m.usable; threads = threads < m.usable ? m.usable : threads + 1)
        print_roofs(threads);
    fflush(stdout);
    bool good = backends_start(&set, o, self) && set.running > 0;
    backends_print(&set, stdout);
    backends_stop(&set);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
