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

const void *flags_named(const void *table, size_t count, size_t size, const char *name) {
    for (const char *row = table; count > 0; row += size, count--)
        if (strcmp(*(const char *const *)(const void *)row, name) == 0)
            return row;
    return NULL;
}

static const flag *find(const flags *f, const char *name) {
    return flags_named(f->table, f->count, sizeof *f->table, strcmp(name, "-h") == 0 ? "--help" : name);
}

/* An option, and the value after it, if it has one. */
static bool take_flag(const flags *f, void *options, int argc, char **argv, int *i) {
    const char *name = argv[*i];
    const flag *found = find(f, name);
    if (found == NULL)
        return flags_refuse(f, name, "is not an option");
    if (found->argument != NULL && ++*i == argc)
        return flags_refuse(f, name, "needs a value after it");
    return found->put((char *)options + found->offset, argv[*i]) || refuse_value(f, name, argv[*i], found->expected);
}

/* The command, then what it takes. */
static bool take_word(const flags *f, flag_words *words, const char *word) {
    const flag_command *command = words->command;
    if (command == NULL) {
        words->command = flags_named(f->commands, f->command_count, sizeof *f->commands, word);
        return words->command != NULL || flags_refuse(f, word, "is not a command");
    }
    if (command->text && words->text == NULL)
        words->text = word;
    else if (command->file && words->file == NULL)
        words->file = word;
    else
        return flags_refuse(f, word, "is one argument too many");
    return true;
}

bool flags_parse(const flags *f, void *options, flag_words *words, int argc, char **argv) {
    *words = (flag_words){0};
    for (int i = 1; i < argc; i++) {
        const bool option = strncmp(argv[i], "--", 2) == 0 || find(f, argv[i]) != NULL;
        if (!(option ? take_flag(f, options, argc, argv, &i) : take_word(f, words, argv[i])))
            return false;
    }
    return true;
}

void flags_help(const flags *f, FILE *file) {
    fprintf(file, "usage: %s %s\n\n", f->program, f->usage);
    for (const flag_command *at = f->commands; at < f->commands + f->command_count; at++)
        fprintf(file, "  %s %s\n", at->name, at->help);
    fprintf(file, "%s\n", f->note);
    for (const flag *at = f->table; at < f->table + f->count; at++)
        fprintf(file, "  %-13s %-8s %s\n", at->name, at->argument == NULL ? "" : at->argument, at->help);
}
