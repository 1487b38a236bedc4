/* SPDX-License-Identifier: BSD-3-Clause */
#include "options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

typedef struct option_spec option_spec;

/* One line of the command line's table: how an option is called, read, limited and explained. */
struct option_spec {
    const char *name, *argument, *initial;
    bool (*parse)(const option_spec *spec, char *value, void *field);
    size_t offset;
    double low, high;
    const char *choices; /* of words in place of numbers, separated by commas: item i becomes the number i */
    const char *help;
};

static bool complain(const option_spec *spec, const char *value, const char *expected) {
    fprintf(stderr, "attn-bench: %s: '%s' is wrong: expected %s\n", spec->name, value, expected);
    return false;
}

static bool complain_range(const option_spec *spec, const char *value, const char *what) {
    char expected[100];
    text_print(expected, sizeof expected, "%s from %.10g to %.10g", what, spec->low, spec->high);
    return complain(spec, value, expected);
}

static bool read_real(const option_spec *spec, const char *text, double *value) {
    char *end;
    errno = 0;
    *value = strtod(text, &end);
    return end != text && *end == '\0' && errno == 0 && *value >= spec->low && *value <= spec->high;
}

static bool read_whole(const option_spec *spec, const char *text, size_t *value) {
    double real;
    if (strspn(text, "0123456789") != strlen(text) || !read_real(spec, text, &real))
        return complain_range(spec, text, "a whole number");
    *value = (size_t)real;
    return true;
}

static bool read_choice(const option_spec *spec, const char *text, size_t *value) {
    char choices[64], expected[100];
    char *rest = choices, *choice;
    text_print(choices, sizeof choices, "%s", spec->choices);
    for (*value = 0; (choice = text_next(&rest, ',')) != NULL; ++*value)
        if (strcmp(choice, text) == 0)
            return true;
    text_print(expected, sizeof expected, "one or more of %s, separated by commas", spec->choices);
    return complain(spec, text, expected);
}

/* Keeps the list ascending and without repeats. */
static void insert(size_list *list, size_t value) {
    size_t place = list->count;
    while (place > 0 && list->item[place - 1] > value)
        place--;
    if (place > 0 && list->item[place - 1] == value)
        return;
    memmove(&list->item[place + 1], &list->item[place], (list->count - place) * sizeof *list->item);
    list->item[place] = value;
    list->count++;
}

static bool parse_sizes(const option_spec *spec, char *value, void *field) {
    size_list *list = field;
    char *item;
    list->count = 0;
    while ((item = text_next(&value, ',')) != NULL) {
        size_t number;
        if (list->count == OPTIONS_LIST_MAX)
            return complain(spec, item, "fewer items");
        if (!(spec->choices != NULL ? read_choice(spec, item, &number) : read_whole(spec, item, &number)))
            return false;
        insert(list, number);
    }
    return true;
}

static bool parse_names(const option_spec *spec, char *value, void *field) {
    name_list *list = field;
    char *item;
    list->count = 0;
    while ((item = text_next(&value, ',')) != NULL) {
        if (*item == '\0')
            return complain(spec, item, "names or paths, separated by commas");
        if (list->count == OPTIONS_LIST_MAX)
            return complain(spec, item, "fewer items");
        list->item[list->count++] = item;
    }
    return true;
}

static bool parse_whole(const option_spec *spec, char *value, void *field) { return read_whole(spec, value, field); }

static bool parse_real(const option_spec *spec, char *value, void *field) {
    return read_real(spec, value, field) || complain_range(spec, value, "a number");
}

static bool parse_path(const option_spec *spec, char *value, void *field) {
    *(char **)field = value;
    return *value != '\0' || complain(spec, value, "the path of a file to write");
}

/* NOLINTNEXTLINE(readability-non-const-parameter): the type is that of the others */
static bool parse_flag(const option_spec *spec, char *value, void *field) {
    (void)spec, (void)value;
    *(bool *)field = true;
    return true;
}

#define FIELD(name) offsetof(options, name)
#define SIZES(name, argument, initial, field, high, help)                                                              \
    { name, argument, initial, parse_sizes, FIELD(field), 1, high, NULL, help }

/* An option without an argument is a flag. */
static const option_spec table[] = {
    SIZES("--lengths", "N,N,...", "32,128,512,2048", lengths, 16777216, "tokens in a sequence"),
    SIZES("--heads", "N,N,...", "4,12", heads, 65536, "attention heads"),
    SIZES("--dims", "N,N,...", "64", dims, 65536, "width of a head; a layer's model width is heads times this"),
    SIZES("--batches", "N,N,...", "1", batches, 1048576, "sequences in a batch"),
    SIZES("--threads", "N,N,...", "1", threads, 1024, "threads"),
    {"--causal", "no,yes", "no,yes", parse_sizes, FIELD(causal), 0, 0, "no,yes",
     "whether a token sees only those before it"},
    {"--ops", "sdpa,layer", "sdpa,layer", parse_sizes, FIELD(ops), 0, 0, "sdpa,layer",
     "attention alone, or with the four projections"},
    {"--blas", "NAME,...", NULL, parse_names, FIELD(blas), 0, 0, NULL,
     "backends: names as --list shows them, or paths of libraries;\nthe first is what the others are compared with "
     "(default: all found)"},
    {"--rounds", "N", "5", parse_whole, FIELD(rounds), 1, 1000, NULL, "rounds; in each, every backend is timed once"},
    {"--seconds", "S", "0.05", parse_real, FIELD(seconds), 0, 3600, NULL, "time for a backend in each round"},
    {"--max-run", "S", "2", parse_real, FIELD(max_run), 0, 1e6, NULL,
     "leave a case out on a backend that would take longer for one run"},
    {"--timeout", "S", "60", parse_real, FIELD(timeout), 0.1, 1e6, NULL, "give a backend up that does not answer"},
    {"--json", "FILE", NULL, parse_path, FIELD(json), 0, 0, NULL, "write the results as Google Benchmark does"},
    {"--svg", "FILE", NULL, parse_path, FIELD(svg), 0, 0, NULL, "draw speed against length"},
    {"--list", NULL, NULL, parse_flag, FIELD(list), 0, 0, NULL, "list the backends found, and why others cannot run"},
    {"--help", NULL, NULL, parse_flag, FIELD(help), 0, 0, NULL, "print this text"},
    {"--version", NULL, NULL, parse_flag, FIELD(version), 0, 0, NULL, "print the version of libattn"},
};
#define TABLE_COUNT (sizeof table / sizeof *table)

static const option_spec *find(const char *name, size_t length) {
    for (size_t i = 0; i < TABLE_COUNT; i++)
        if (strlen(table[i].name) == length && memcmp(table[i].name, name, length) == 0)
            return &table[i];
    return NULL;
}

/* Numbers and lists are parsed from a copy that lives as long as the program: parsing cuts the text up. */
static void set_defaults(options *o) {
    static char initial[TABLE_COUNT][32];
    memset(o, 0, sizeof *o);
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        if (table[i].initial == NULL)
            continue;
        text_print(initial[i], sizeof initial[i], "%s", table[i].initial);
        table[i].parse(&table[i], initial[i], (char *)o + table[i].offset);
    }
}

static bool refuse(const char *argument, const char *what) {
    fprintf(stderr, "attn-bench: '%s' %s\n", argument, what);
    return false;
}

/* Takes argv[*i], and argv[++*i] where its value stands apart ("--rounds 3", not "--rounds=3"). */
static bool parse_one(options *o, int argc, char **argv, int *i) {
    char *name = argv[*i];
    char *value = strchr(name, '=');
    size_t length = value != NULL ? (size_t)(value++ - name) : strlen(name);
    const option_spec *spec = find(name, length);
    if (spec == NULL)
        return refuse(name, "is not an option");
    if (spec->argument == NULL && value != NULL)
        return refuse(name, "takes no value");
    if (spec->argument != NULL && value == NULL && ++*i == argc)
        return refuse(name, "needs a value after it");
    if (spec->argument != NULL && value == NULL)
        value = argv[*i];
    return spec->parse(spec, value, (char *)o + spec->offset);
}

options_result options_parse(options *o, int argc, char **argv) {
    set_defaults(o);
    for (int i = 1; i < argc; i++) {
        if (!parse_one(o, argc, argv, &i)) {
            fputs("attn-bench --help lists the options\n", stderr);
            return OPTIONS_BAD;
        }
    }
    return OPTIONS_OK;
}

static void print_option(FILE *file, const option_spec *spec) {
    char left[40];
    text_print(left, sizeof left, "%s %s", spec->name, spec->argument != NULL ? spec->argument : "");
    fprintf(file, "  %-22s ", left);
    for (const char *c = spec->help; *c != '\0'; c++)
        *c == '\n' ? fprintf(file, "\n%25s", "") : fputc(*c, file);
    if (spec->initial != NULL)
        fprintf(file, " (default: %s)", spec->initial);
    fputc('\n', file);
}

void options_print_help(FILE *file) {
    fputs("usage: attn-bench [option...]\n"
          "Times attention on every BLAS backend found, each in a process of its own, in interleaved rounds, and\n"
          "prints GFLOP/s of useful work, its spread, its share of the FMA peak of this machine, and the ratio to the\n"
          "first backend.\n\n",
          file);
    for (size_t i = 0; i < TABLE_COUNT; i++)
        print_option(file, &table[i]);
    fputs(
        "\nLists make a sweep over all combinations. The exit status is 0 when every backend that ran gave the right\n"
        "answers, 1 when one did not or none could run or a file could not be written, 2 when an option is wrong.\n",
        file);
}
