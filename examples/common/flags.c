/* SPDX-License-Identifier: BSD-3-Clause */
#include "flags.h"

#include <stdlib.h>
#include <string.h>

bool flag_string(void *field, const char *value) {
    *(const char **)field = value;
    return *value != '\0';
}

bool flag_number(void *field, const char *value) {
    char *end;
    *(size_t *)field = (size_t)strtoul(value, &end, 10);
    return *value >= '0' && *value <= '9' && *end == '\0' && strlen(value) < 7;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): the type is that of the others */
bool flag_switch(void *field, const char *value) {
    (void)value;
    *(bool *)field = true;
    return true;
}

bool flags_refuse(const flags *f, const char *argument, const char *what) {
    fprintf(stderr, "%s: '%s' %s\n%s --help lists the options\n", f->program, argument, what, f->program);
    return false;
}

static bool refuse_value(const flags *f, const char *name, const char *value, const char *expected) {
    fprintf(stderr, "%s: %s: '%s' is wrong: expected %s\n%s --help lists the options\n", f->program, name, value,
            expected, f->program);
    return false;
}

bool flags_match(const flags *f, const char *argument) {
    bool known = strncmp(argument, "--", 2) == 0 || strcmp(argument, "-h") == 0;
    for (size_t i = 0; i < f->count; i++)
        known = known || strcmp(argument, f->table[i].name) == 0;
    return known;
}

bool flags_take(const flags *f, void *options, int argc, char **argv, int *i) {
    const char *name = strcmp(argv[*i], "-h") == 0 ? "--help" : argv[*i];
    for (const flag *at = f->table; at < f->table + f->count; at++) {
        if (strcmp(at->name, name) != 0)
            continue;
        if (at->argument != NULL && ++*i == argc)
            return flags_refuse(f, name, "needs a value after it");
        return at->put((char *)options + at->offset, argv[*i]) || refuse_value(f, name, argv[*i], at->expected);
    }
    return flags_refuse(f, name, "is not an option");
}

void flags_help(const flags *f, FILE *file) {
    for (const flag *at = f->table; at < f->table + f->count; at++)
        fprintf(file, "  %-13s %-8s %s\n", at->name, at->argument == NULL ? "" : at->argument, at->help);
}
