/* SPDX-License-Identifier: BSD-3-Clause */
#include "options.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    command command;
    bool text, file; /* what it takes */
    const char *help;
} commands[] = {
    {"show", COMMAND_SHOW, true, false, "SENTENCE        what its words attend to"},
    {"embed", COMMAND_EMBED, false, true, "[FILE]         a vector for each line"},
    {"similar", COMMAND_SIMILAR, true, true, "SENTENCE [FILE]  the lines nearest to the sentence"},
    {"tokens", COMMAND_TOKENS, false, true, "[FILE]        the token ids of each line"},
    {"trace", COMMAND_TRACE, true, false, "SENTENCE --out FOLDER  hidden states and attention weights as .npy"},
};

static bool put_string(void *field, const char *value) {
    *(const char **)field = value;
    return *value != '\0';
}

static bool put_number(void *field, const char *value) {
    char *end;
    *(size_t *)field = (size_t)strtoul(value, &end, 10);
    return *value >= '0' && *value <= '9' && *end == '\0' && strlen(value) < 7;
}

/* From 1, or "mean", which is 0. */
static bool put_index(void *field, const char *value) {
    if (strcmp(value, "mean") != 0)
        return put_number(field, value) && *(size_t *)field > 0;
    *(size_t *)field = 0;
    return true;
}

static bool put_precision(void *field, const char *value) {
    static const struct {
        const char *name;
        arithmetic is;
    } choices[] = {{"f32", {ATTN_PRECISION_F32, ATTN_F32}},
                   {"bf16", {ATTN_PRECISION_BF16, ATTN_F32}},
                   {"int8", {ATTN_PRECISION_INT8, ATTN_INT8}},
                   {"int4", {ATTN_PRECISION_INT8, ATTN_INT4}}};
    for (size_t n = 0; n < sizeof choices / sizeof *choices; n++)
        if (strcmp(choices[n].name, value) == 0) {
            *(arithmetic *)field = choices[n].is;
            return true;
        }
    return false;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): the type is that of the others */
static bool put_flag(void *field, const char *value) {
    (void)value;
    *(bool *)field = true;
    return true;
}

#define FIELD(name) offsetof(options, name)
#define TEXT "a text that is not empty"
#define NUMBER "a whole number up to 999999"
#define INDEX "a whole number from 1, or mean"

/* An option without an argument is a flag. */
static const struct {
    const char *name, *argument;
    bool (*put)(void *field, const char *value);
    size_t offset;
    const char *help, *expected; /* expected: where not every value will do */
} table[] = {
    {"--model", "FOLDER", put_string, FIELD(model), "config.json, model.safetensors, tokenizer.json or vocab.txt",
     TEXT},
    {"--threads", "N", put_number, FIELD(threads), "0, the default: all cores", NUMBER},
    {"--precision", "f32|...", put_precision, FIELD(arithmetic),
     "of products: f32 (default), bf16, or int8 rows by int8 or int4 weights", "f32, bf16, int8 or int4"},
    {"--layer", "N|mean", put_index, FIELD(view.layer), "show: a layer, from 1 (default: mean)", INDEX},
    {"--head", "N|mean", put_index, FIELD(view.head), "show: a head, from 1 (default: mean)", INDEX},
    {"--rollout", NULL, put_flag, FIELD(view.rollout), "show: attention through all layers up to --layer", NULL},
    {"--special", NULL, put_flag, FIELD(view.keep_special), "show: with [CLS] and [SEP]", NULL},
    {"--word", "WORD", put_string, FIELD(word), "show: the word of the picture of arcs; cat:2 is the second cat", TEXT},
    {"--json", "FILE", put_string, FIELD(json), "show: write the scores", TEXT},
    {"--svg", "FILE", put_string, FIELD(svg), "show: draw arcs from --word or, without it, all heads of all layers",
     TEXT},
    {"--html", "FILE", put_string, FIELD(html), "show: write a page with both", TEXT},
    {"--npy", "FILE", put_string, FIELD(npy), "embed: write the vectors as a NumPy array instead of text", TEXT},
    {"--time", NULL, put_flag, FIELD(time), "embed: say on stderr how long it took, reading files aside", NULL},
    {"--top", "N", put_number, FIELD(top), "similar: how many (default: 5)", NUMBER},
    {"--out", "FOLDER", put_string, FIELD(out), "trace: where to write", TEXT},
    {"--help", NULL, put_flag, FIELD(help), "or -h: print this text", NULL},
};

static bool refuse(const char *argument, const char *what) {
    fprintf(stderr, "attn-lens: '%s' %s\nattn-lens --help lists the options\n", argument, what);
    return false;
}

static bool refuse_value(const char *name, const char *value, const char *expected) {
    fprintf(stderr, "attn-lens: %s: '%s' is wrong: expected %s\nattn-lens --help lists the options\n", name, value,
            expected);
    return false;
}

/* Takes argv[*i] and the value after it, if it has one. */
static bool parse_option(options *o, int argc, char **argv, int *i) {
    const char *name = strcmp(argv[*i], "-h") == 0 ? "--help" : argv[*i];
    for (size_t n = 0; n < sizeof table / sizeof *table; n++) {
        if (strcmp(table[n].name, name) != 0)
            continue;
        if (table[n].argument != NULL && ++*i == argc)
            return refuse(name, "needs a value after it");
        if (!table[n].put((char *)o + table[n].offset, argv[*i]))
            return refuse_value(name, argv[*i], table[n].expected);
        return true;
    }
    return refuse(name, "is not an option");
}

/* The command, then what it takes. */
static bool parse_word(options *o, const char *word, size_t place) {
    if (place == 0) {
        for (size_t n = 0; n < sizeof commands / sizeof *commands; n++) {
            o->command = commands[n].command;
            if (strcmp(commands[n].name, word) == 0)
                return true;
        }
        return refuse(word, "is not a command");
    }
    if (commands[o->command].text && o->text == NULL)
        o->text = word;
    else if (commands[o->command].file && o->file == NULL)
        o->file = word;
    else
        return refuse(word, "is one argument too many");
    return true;
}

static bool check_complete(options *o, size_t given) {
    if (o->help)
        return true;
    if (given == 0)
        return refuse("attn-lens", "needs a command");
    if (commands[o->command].text && o->text == NULL)
        return refuse(commands[o->command].name, "needs a sentence");
    if (o->file == NULL)
        o->file = "-";
    if (o->command == COMMAND_TRACE && o->out == NULL)
        return refuse("trace", "needs --out");
    if (o->model == NULL)
        return refuse("--model", "is missing; examples/lens/get-model.sh fetches one");
    return true;
}

bool options_parse(options *o, int argc, char **argv) {
    size_t given = 0;
    *o = (options){.top = 5};
    for (int i = 1; i < argc; i++) {
        bool option = argv[i][0] == '-' && (argv[i][1] == '-' || strcmp(argv[i], "-h") == 0);
        if (!(option ? parse_option(o, argc, argv, &i) : parse_word(o, argv[i], given++)))
            return false;
    }
    return check_complete(o, given);
}

void options_help(FILE *file) {
    fputs("usage: attn-lens COMMAND --model FOLDER [option...]\n"
          "Looks into a BERT encoder that runs on libattn.\n\n",
          file);
    for (size_t n = 0; n < sizeof commands / sizeof *commands; n++)
        fprintf(file, "  %s %s\n", commands[n].name, commands[n].help);
    fputs("\nFILE has a sentence on each line; without it, or with -, the standard input is read.\n\n", file);
    for (size_t n = 0; n < sizeof table / sizeof *table; n++)
        fprintf(file, "  %-11s %-8s %s\n", table[n].name, table[n].argument == NULL ? "" : table[n].argument,
                table[n].help);
}
