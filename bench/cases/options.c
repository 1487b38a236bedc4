/* SPDX-License-Identifier: BSD-3-Clause */
#include "cases/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "cases/axes.h"
#include "cases/models.h"

typedef struct option_spec option_spec;

/* One line of the command line's table: how an option is called, read, limited and explained. */
struct option_spec {
    const char *name, *argument, *initial;
    bool (*parse)(const option_spec *spec, char *value, void *field);
    size_t offset;
    double low, high;
    const char *choices; /* of words in place of numbers, separated by commas: item i becomes the number i */
    unsigned commands;   /* that take it, as bits */
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

static bool complain_count(const option_spec *spec, const char *item) {
    char expected[40];
    text_print(expected, sizeof expected, "at most %d items", OPTIONS_LIST_MAX);
    return complain(spec, item, expected);
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
    char choices[80], expected[140];
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
            return complain_count(spec, item);
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
            return complain_count(spec, item);
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

/* Commands as bits. */
#define BIT(command) (1u << (command))
#define RUNS (BIT(SWEEP) | BIT(COMPARE) | BIT(ROOFLINE) | BIT(MODEL))
#define SHAPES (BIT(SWEEP) | BIT(COMPARE) | BIT(ROOFLINE) | BIT(EXPLAIN))
#define ALL (BIT(COMMAND_COUNT) - 1)

static const struct {
    const char *name, *operands, *help;
} command_table[COMMAND_COUNT] = {
    [SWEEP] = {"sweep", "", "time every combination of shapes, backend by backend (the default)"},
    [COMPARE] = {"compare", "", "backends side by side: the winner of each shape, ties, the geometric mean"},
    [ROOFLINE] = {"roofline", "", "each shape against the measured peak and read bandwidth"},
    [MODEL] = {"model", " NAME,...", "the shapes of known models: " MODEL_NAMES},
    [MACHINE] = {"machine", "", "cores, caches, instruction sets; backends found, and why others are refused"},
    [EXPLAIN] = {"explain", "", "what libattn will do for a shape: backend, tiles, split, scratch"},
    [DIFF] = {"diff", " BEFORE.json AFTER.json", "compare two saved runs; exit status 1 on a regression"},
};

#define FIELD(name) offsetof(options, name)
#define SIZES(name, argument, initial, field, high, commands, help)                                                    \
    { name, argument, initial, parse_sizes, FIELD(field), 1, high, NULL, commands, help }
#define CHOICES(name, initial, field, choices, commands, help)                                                         \
    { name, choices, initial, parse_sizes, FIELD(field), 0, 0, choices, commands, help }
#define FILE_TO_WRITE(name, field, help)                                                                               \
    { name, "FILE", NULL, parse_path, FIELD(field), 0, 0, NULL, RUNS, help }

/* An option without an argument is a flag. */
static const option_spec table[] = {
    SIZES("--lengths", "N,N,...", "32,128,512,2048", lengths, 16777216, SHAPES | BIT(MODEL), "tokens in a sequence"),
    SIZES("--heads", "N,N,...", "4,12", heads, 65536, SHAPES, "attention heads"),
    SIZES("--dims", "N,N,...", "64", dims, 65536, SHAPES, "width of a head; a layer's model width is heads times this"),
    {"--kv-heads", "N", "0", parse_whole, FIELD(kv_heads), 0, 65536, NULL, SHAPES,
     "key/value heads, where they divide the heads; 0: as many"},
    SIZES("--batches", "N,N,...", "1", batches, 1048576, SHAPES | BIT(MODEL), "sequences in a batch"),
    SIZES("--threads", "N,N,...", "1", threads, 1024, SHAPES | BIT(MODEL), "threads"),
    CHOICES("--ops", "sdpa,layer", ops, OP_NAMES, SHAPES | BIT(MODEL),
            "what to time: attention; the same and its way back; the\nlayer with its projections; one token over a "
            "cache; the\nprojections alone; the softmax of a tile; the products of\na tile"),
    CHOICES("--variants", "full,causal", variants, VARIANT_NAMES, SHAPES | BIT(MODEL), "which keys a token sees"),
    CHOICES("--dtypes", "f32", dtypes, DTYPE_NAMES, RUNS, "storage type of q, k, v and the output"),
    CHOICES(
        "--precision", "f32", precisions, PRECISION_NAMES, RUNS,
        "what products multiply: f32; operands rounded to bf16;\nrows quantised to int8, and int8 or int4 weights; a "
        "cache\nthat is decoded from keeps the same"),
    CHOICES("--caches", "warm", caches, "warm,cold", RUNS, "warm: run after run; cold: flushed before each run"),
    {"--blas", "NAME,...", NULL, parse_names, FIELD(blas), 0, 0, NULL, ALL & ~BIT(DIFF),
     "backends: names as `machine` shows them, or PATH[:name] of\nlibraries; the first is what the others are compared "
     "with\n(default: all found)"},
    {"--core", "NAME,...", NULL, parse_names, FIELD(cores), 0, 0, NULL, RUNS | BIT(MACHINE),
     "also run the first OpenBLAS with these kernels, as Haswell"},
    {"--rounds", "N", "5", parse_whole, FIELD(rounds), 1, 1000, NULL, RUNS,
     "least rounds; in each, every backend is timed once"},
    {"--max-rounds", "N", "15", parse_whole, FIELD(max_rounds), 1, 1000, NULL, RUNS, "most rounds"},
    {"--noise", "%", "1", parse_real, FIELD(noise), 0, 100, NULL, RUNS,
     "more rounds until the median is known to this"},
    {"--seconds", "S", "0.05", parse_real, FIELD(seconds), 0, 3600, NULL, RUNS, "time for a backend in each round"},
    {"--budget", "S", "0", parse_real, FIELD(budget), 0, 1e6, NULL, RUNS, "bound the whole run; 0: none"},
    {"--max-run", "S", "2", parse_real, FIELD(max_run), 0, 1e6, NULL, RUNS,
     "leave a case out on a backend that would take longer for one run"},
    {"--timeout", "S", "60", parse_real, FIELD(timeout), 0.1, 1e6, NULL, ALL & ~BIT(DIFF),
     "give a backend up that does not answer"},
    {"--seed", "N", "1", parse_whole, FIELD(seed), 0, 4294967295, NULL, RUNS, "of the order that backends run in"},
    {"--no-pin", NULL, NULL, parse_flag, FIELD(no_pin), 0, 0, NULL, RUNS, "do not bind workers to processors"},
    FILE_TO_WRITE("--json", json, "write the results as Google Benchmark does"),
    FILE_TO_WRITE("--csv", csv, "write one line for each shape and backend"),
    FILE_TO_WRITE("--html", html, "write a report with all charts, one file"),
    FILE_TO_WRITE("--svg", svg, "write one chart"),
    CHOICES("--chart", "length", chart, "length,heads,winner,roofline", RUNS, "which one"),
    {"--help", NULL, NULL, parse_flag, FIELD(help), 0, 0, NULL, ALL, "or -h: print this text"},
    {"--version", NULL, NULL, parse_flag, FIELD(version), 0, 0, NULL, ALL, "print the version of libattn"},
};
#define TABLE_COUNT (sizeof table / sizeof *table)

/* Where a command begins with something else. */
static const struct {
    bench_command command;
    const char *name, *initial;
} exceptions[] = {
    {COMPARE, "--lengths", "32,64,128,256,512,1024"},
    {COMPARE, "--heads", "1,4,12"},
    {COMPARE, "--ops", "sdpa"},
    {COMPARE, "--variants", "causal"},
    {COMPARE, "--chart", "winner"},
    {ROOFLINE, "--lengths", "32,128,512,2048"},
    {ROOFLINE, "--heads", "12"},
    {ROOFLINE, "--ops", OP_NAMES},
    {ROOFLINE, "--variants", "full"},
    {ROOFLINE, "--blas", "linked,builtin"},
    {ROOFLINE, "--chart", "roofline"},
    {EXPLAIN, "--lengths", "512"},
    {EXPLAIN, "--heads", "12"},
    {EXPLAIN, "--variants", "full"},
    {EXPLAIN, "--blas", "linked,builtin"},
    {EXPLAIN, "--ops", "sdpa"},
};

static const option_spec *find(const char *name, size_t length) {
    for (size_t i = 0; i < TABLE_COUNT; i++)
        if (strlen(table[i].name) == length && memcmp(table[i].name, name, length) == 0)
            return &table[i];
    return NULL;
}

static const char *initial_of(bench_command command, const option_spec *spec) {
    for (size_t i = 0; i < sizeof exceptions / sizeof *exceptions; i++)
        if (exceptions[i].command == command && strcmp(exceptions[i].name, spec->name) == 0)
            return exceptions[i].initial;
    return spec->initial;
}

/* Numbers and lists are parsed from a copy that lives as long as the program: parsing cuts the text up. */
static void set_defaults(options *o) {
    static char initial[TABLE_COUNT][80];
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        const char *text = initial_of(o->command, &table[i]);
        if (text == NULL)
            continue;
        text_print(initial[i], sizeof initial[i], "%s", text);
        table[i].parse(&table[i], initial[i], (char *)o + table[i].offset);
    }
}

static bool refuse(const char *argument, const char *what) {
    fprintf(stderr, "attn-bench: '%s' %s\n", argument, what);
    return false;
}

static bool refuse_here(const char *name, bench_command command) {
    char what[60];
    text_print(what, sizeof what, "is not an option of %s", command_table[command].name);
    return refuse(name, what);
}

static void note_given(options *o, const option_spec *spec) {
    o->lengths_given = o->lengths_given || spec->offset == FIELD(lengths);
    o->ops_given = o->ops_given || spec->offset == FIELD(ops);
    o->variants_given = o->variants_given || spec->offset == FIELD(variants);
}

/* Takes argv[*i], and argv[++*i] where its value stands apart ("--rounds 3", not "--rounds=3"). */
static bool parse_option(options *o, int argc, char **argv, int *i) {
    char *name = argv[*i];
    char *value = strchr(name, '=');
    size_t length = value != NULL ? (size_t)(value++ - name) : strlen(name);
    const option_spec *spec = strcmp(name, "-h") == 0 ? find("--help", strlen("--help")) : find(name, length);
    if (spec == NULL)
        return refuse(name, "is not an option");
    if ((spec->commands & BIT(o->command)) == 0)
        return refuse_here(name, o->command);
    if (spec->argument == NULL && value != NULL)
        return refuse(name, "takes no value");
    if (spec->argument != NULL && value == NULL && ++*i == argc)
        return refuse(name, "needs a value after it");
    if (spec->argument != NULL && value == NULL)
        value = argv[*i];
    note_given(o, spec);
    return spec->parse(spec, value, (char *)o + spec->offset);
}

static bool parse_operand(options *o, char *operand) {
    static const option_spec models = {.name = "model", .choices = MODEL_NAMES};
    if (o->command == MODEL && o->models.count == 0)
        return parse_sizes(&models, operand, &o->models);
    if (o->command == DIFF && o->files[1] == NULL) {
        o->files[o->files[0] != NULL ? 1 : 0] = operand;
        return true;
    }
    return refuse(operand, "is not an option");
}

static bool find_command(options *o, const char *name) {
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(command_table[i].name, name) != 0)
            continue;
        o->command = (bench_command)i;
        return true;
    }
    return refuse(name, "is not a command");
}

static bool complete(options *o) {
    if (o->help || o->version)
        return true;
    if (o->command == MODEL && o->models.count == 0)
        return refuse("model", "needs one or more of " MODEL_NAMES " after it");
    if (o->command == DIFF && o->files[1] == NULL)
        return refuse("diff", "needs two JSON files after it: before and after");
    if (o->max_rounds < o->rounds)
        o->max_rounds = o->rounds;
    return true;
}

static void keep_command_line(options *o, int argc, char **argv) {
    text_print(o->command_line, sizeof o->command_line, "attn-bench");
    for (int i = 1; i < argc; i++) {
        const bool plain = *argv[i] != '\0' && strpbrk(argv[i], " \t\n'\"\\$`;&|<>()*?[]#~!{}") == NULL;
        const size_t length = strlen(o->command_line);
        text_print(o->command_line + length, sizeof o->command_line - length, plain ? " %s" : " '%s'", argv[i]);
    }
}

options_result options_parse(options *o, int argc, char **argv) {
    int i = 1;
    memset(o, 0, sizeof *o);
    keep_command_line(o, argc, argv);
    bool good = argc < 2 || *argv[1] == '-' || find_command(o, argv[i++]);
    set_defaults(o);
    for (; good && i < argc; i++)
        good = *argv[i] == '-' ? parse_option(o, argc, argv, &i) : parse_operand(o, argv[i]);
    if (good && complete(o))
        return OPTIONS_OK;
    fputs("attn-bench --help lists the commands, attn-bench COMMAND --help its options\n", stderr);
    return OPTIONS_BAD;
}

static void print_option(FILE *file, bench_command command, const option_spec *spec) {
    char left[120];
    const char *initial = initial_of(command, spec);
    text_print(left, sizeof left, "%s %s", spec->name, spec->argument != NULL ? spec->argument : "");
    fprintf(file, "  %-24s ", left);
    if (strlen(left) > 24)
        fprintf(file, "\n%27s", "");
    for (const char *c = spec->help; *c != '\0'; c++)
        *c == '\n' ? fprintf(file, "\n%27s", "") : fputc(*c, file);
    if (initial != NULL && strcmp(initial, "0") != 0)
        fprintf(file, " (default: %s)", initial);
    fputc('\n', file);
}

void options_print_help(const options *o, FILE *file) {
    fprintf(file, "usage: attn-bench [command] [option...]\n       attn-bench %s [option...]%s\n\n",
            command_table[o->command].name, command_table[o->command].operands);
    fputs("Which BLAS, how many threads, which shapes: attention timed on this machine, every backend in a process of\n"
          "its own, its answers checked against double precision before it is timed.\n\ncommands:\n",
          file);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(file, "  %-10s %s\n", command_table[i].name, command_table[i].help);
    fprintf(file, "\noptions of %s:\n", command_table[o->command].name);
    for (size_t i = 0; i < TABLE_COUNT; i++)
        if ((table[i].commands & BIT(o->command)) != 0)
            print_option(file, o->command, &table[i]);
    fputs("\nexit status: 0 all is well; 1 a backend gave a wrong answer, none could run, a file could not be read or\n"
          "written, or diff found a regression; 2 the command line is wrong; 130 interrupted.\n",
          file);
}
