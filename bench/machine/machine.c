/* SPDX-License-Identifier: BSD-3-Clause */
#include "machine/machine.h"

#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"

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

/* The first line of a file of the system, without its end. */
static bool read_line(const char *path, char *line, size_t size) {
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return false;
    bool read = fgets(line, (int)size, file) != NULL;
    fclose(file);
    if (read)
        line[strcspn(line, "\n")] = '\0';
    return read;
}

/* "cpu user nice system idle iowait irq softirq steal ...", in ticks. */
static double stolen_seconds(void) {
    char line[300];
    double ticks[8];
    const long rate = sysconf(_SC_CLK_TCK);
    if (rate <= 0 || !read_line("/proc/stat", line, sizeof line) || strncmp(line, "cpu ", 4) != 0 ||
        !text_numbers(line + 4, ticks, 8))
        return -1;
    return ticks[7] / (double)rate;
}

/* How many processors a list as "0-3,8" names. */
static size_t count_list(char *list) {
    size_t count = 0;
    char *item;
    while ((item = text_next(&list, ',')) != NULL) {
        char *dash = strchr(item, '-');
        const long first = strtol(item, NULL, 10), last = dash != NULL ? strtol(dash + 1, NULL, 10) : first;
        count += last >= first ? (size_t)(last - first) + 1 : 0;
    }
    return count;
}

static bool read_cache(size_t index, machine_cache *cache) {
    char path[100], line[200];
    char *end;
    text_print(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%zu/level", index);
    if (!read_line(path, line, sizeof line))
        return false;
    cache->level = (size_t)strtoul(line, NULL, 10);
    text_print(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%zu/type", index);
    if (read_line(path, line, sizeof line))
        text_print(cache->type, sizeof cache->type, "%.15s", line);
    text_print(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%zu/size", index);
    if (read_line(path, line, sizeof line)) {
        cache->bytes = (size_t)strtoul(line, &end, 10);
        cache->bytes *= *end == 'K' ? 1024 : *end == 'M' ? 1024 * 1024 : 1;
    }
    text_print(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%zu/shared_cpu_list", index);
    if (read_line(path, line, sizeof line))
        cache->sharing = count_list(line);
    return true;
}

/* Of the flags that the system tells, those that decide how fast products and the softmax are. */
static void read_isa(char *to, size_t size) {
    static const char *const known[] = {"sse4_2",      "avx",      "avx2",     "fma",      "f16c",        "avx_vnni",
                                        "avx512f",     "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx512_bf16",
                                        "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8", "asimd",       "asimddp",
                                        "bf16",        "i8mm",     "sve"};
    char line[8192] = "";
    FILE *file = fopen("/proc/cpuinfo", "r");
    *to = '\0';
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, "flags", 5) == 0 || strncmp(line, "Features", 8) == 0)
            break;
    if (file != NULL)
        fclose(file);
    line[strcspn(line, "\n")] = '\0';
    char *rest = strchr(line, ':'), *flag;
    while ((flag = text_next(&rest, ' ')) != NULL)
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            if (strcmp(flag, known[i]) == 0)
                text_print(to + strlen(to), size - strlen(to), "%s%s", *to != '\0' ? " " : "", flag);
}

static size_t usable_cpus(size_t online) {
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return (size_t)CPU_COUNT(&set);
#endif
    return online;
}

static void read_date(char *to, size_t size) {
    const time_t now = time(NULL);
    struct tm parts;
    if (localtime_r(&now, &parts) != NULL)
        strftime(to, size, "%Y-%m-%dT%H:%M:%S%z", &parts);
}

machine machine_read(void) {
    machine m = {.load = load_average(), .stolen = stolen_seconds()};
    char mhz[32] = "0";
    struct utsname system;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    read_date(m.date, sizeof m.date);
    if (uname(&system) != 0)
        memset(&system, 0, sizeof system);
    text_print(m.host, sizeof m.host, "%s", system.nodename);
    if (!cpuinfo("model name", m.cpu, sizeof m.cpu))
        text_print(m.cpu, sizeof m.cpu, "%s", system.machine);
    m.cpus = cpus > 0 ? (size_t)cpus : 1;
    m.usable = usable_cpus(m.cpus);
    cpuinfo("cpu MHz", mhz, sizeof mhz);
    m.mhz = strtod(mhz, NULL);
    read_isa(m.isa, sizeof m.isa);
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    m.memory_mb = pages > 0 && page > 0 ? (size_t)pages / 1024 * (size_t)page / 1024 : 0;
    while (m.cache_count < MACHINE_CACHES && read_cache(m.cache_count, &m.caches[m.cache_count]))
        m.cache_count++;
    return m;
}

void machine_print(const machine *m, FILE *file) {
    fprintf(file, "machine:   %s, %zu CPU%s", m->cpu, m->cpus, m->cpus == 1 ? "" : "s");
    if (m->usable < m->cpus)
        fprintf(file, ", %zu usable", m->usable);
    if (m->mhz > 0)
        fprintf(file, ", %.0f MHz", m->mhz);
    if (m->memory_mb > 0)
        fprintf(file, ", %zu MB of memory", m->memory_mb);
    fputs("\ncaches:    ", file);
    for (size_t i = 0; i < m->cache_count; i++) {
        const machine_cache *c = &m->caches[i];
        fprintf(file, "%sL%zu %c %zu KB for %zu CPU%s", i > 0 ? ", " : "", c->level, *c->type, c->bytes / 1024,
                c->sharing, c->sharing == 1 ? "" : "s");
    }
    fprintf(file, "%s\nISA:       %s\n", m->cache_count == 0 ? "not told" : "", *m->isa != '\0' ? m->isa : "not told");
}
