/* SPDX-License-Identifier: BSD-3-Clause */
#include "machine.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "text.h"

/* The value of the first line "key   : value" of the system's description of the processors. */
static bool cpuinfo(const char *key, char *value, size_t size) {
    char line[256];
    bool found = false;
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL) {
        char *colon = strchr(line, ':');
        found = colon != NULL && strncmp(line, key, strlen(key)) == 0;
        if (found)
            text_print(value, size, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
    }
    if (file != NULL)
        fclose(file);
    return found;
}

static double load_average(void) {
    char line[100];
    double load = -1;
    FILE *file = fopen("/proc/loadavg", "r");
    if (file == NULL)
        return load;
    if (fgets(line, sizeof line, file) == NULL || !text_numbers(line, &load, 1))
        load = -1;
    fclose(file);
    return load;
}

machine machine_read(void) {
    machine m = {.load = load_average()};
    char mhz[32] = "0";
    struct utsname system;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    if (uname(&system) != 0)
        memset(&system, 0, sizeof system);
    text_print(m.host, sizeof m.host, "%s", system.nodename);
    if (!cpuinfo("model name", m.cpu, sizeof m.cpu))
        text_print(m.cpu, sizeof m.cpu, "%s", system.machine);
    m.cpus = cpus > 0 ? (size_t)cpus : 1;
    cpuinfo("cpu MHz", mhz, sizeof mhz);
    m.mhz = strtod(mhz, NULL);
    return m;
}
