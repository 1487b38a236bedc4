/* SPDX-License-Identifier: BSD-3-Clause */
/* How many CPUs the process has: those that it may run on, or the share of them that its cgroups allow. */
#define _GNU_SOURCE /* sched_getaffinity */
#include <limits.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "context/context.h"
#include "context/sizes.h"

/* The kernel refuses masks that are shorter than its own: here 65,536 CPUs, eight times as many as Linux can have. */
static size_t count_runnable(void) {
    cpu_set_t sets[65536 / 8 / sizeof(cpu_set_t)]; /* musl's CPU_SETSIZE is in bytes */
    if (sched_getaffinity(0, sizeof sets, sets) != 0)
        return 1;
    return (size_t)CPU_COUNT_S(sizeof sets, sets);
}

/* The numbers that a file begins with. Returns how many there are, at most two: none if it is not there, or begins with
 * "max". */
static int read_numbers(const char *folder, const char *name, long long *first, long long *second) {
    char path[PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    const int count = fscanf(file, "%lld %lld", first, second); /* NOLINT(cert-err34-c): what the kernel writes */
    fclose(file);
    return count;
}

/* The quota of one cgroup, of version 2 or 1, in whole CPUs, rounded up. SIZE_MAX: it has none. */
static size_t quota_of_group(const char *folder) {
    long long quota, period, unused;
    const bool v2 = read_numbers(folder, "cpu.max", &quota, &period) == 2;
    const bool v1 = !v2 && read_numbers(folder, "cpu.cfs_quota_us", &quota, &unused) == 1 &&
                    read_numbers(folder, "cpu.cfs_period_us", &period, &unused) == 1;
    return (v1 || v2) && quota > 0 && period > 0 ? (size_t)((quota - 1) / period + 1) : SIZE_MAX;
}

/* The least quota of a cgroup and all above it, as far as they can be seen: in a container, `group` may be a path of
 * the host's, and the container's own group is what lies at `mount`. */
static size_t quota_below(const char *root, const char *mount, const char *group) {
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s%s%s", root, mount, group);
    char *const path = folder + strlen(root) + strlen(mount);
    for (size_t least = SIZE_MAX;;) {
        least = attni_min(least, quota_of_group(folder));
        char *slash = strrchr(path, '/');
        if (!slash)
            return least;
        *slash = '\0';
    }
}

/* A line of /proc/self/cgroup, "4:cpu,cpuacct:/group", or "0::/group" for version 2. */
static size_t quota_of_line(const char *root, char *line) {
    char list[256];
    char *const controllers = strchr(line, ':');
    char *const group = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!group)
        return SIZE_MAX;
    group[strcspn(group, "\n")] = '\0';
    *group = '\0';
    if (!controllers[1])
        return attni_min(quota_below(root, "/sys/fs/cgroup", group + 1),
                         quota_below(root, "/sys/fs/cgroup/unified", group + 1));
    snprintf(list, sizeof list, ",%s,", controllers + 1);
    return strstr(list, ",cpu,") ? quota_below(root, "/sys/fs/cgroup/cpu", group + 1) : SIZE_MAX;
}

static size_t quota_of_process(const char *root) {
    char line[PATH_MAX + 64];
    snprintf(line, sizeof line, "%s/proc/self/cgroup", root);
    FILE *file = fopen(line, "re");
    size_t least = SIZE_MAX;
    while (file && fgets(line, sizeof line, file))
        least = attni_min(least, quota_of_line(root, line));
    if (file)
        fclose(file);
    return least;
}

size_t attni_count_cpus(const char *root) { return attni_min(count_runnable(), quota_of_process(root)); }
