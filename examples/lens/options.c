/* SPDX-License-Identifier: BSD-3-Clause */
#include "options.h"

#include <string.h>

#include "flags.h"

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

/* From 1, or "mean", which is 0. */
static bool put_index(void *field, const char *value) {
    if (strcmp(value, "mean") != 0)
        return flag_number(field, value) && *(size_t *)field > 0;
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

#define FIELD(name) offsetof(options, name)
#define INDEX "a whole number from 1, or mean"

static const flag table[] = {
    {"--model", "FOLDER", flag_string, FIELD(model), "config.json, model.safetensors, tokenizer.json or vocab.txt",
     FLAG_TEXT},
    {"--threads", "N", flag_number, FIELD(threads), "0, the default: all cores", FLAG_NUMBER},
    {"--precision", "f32|...", put_precision, FIELD(arithmetic),
     "of products: f32 (default), bf16, or int8 rows by int8 or int4 weights", "f32, bf16, int8 or int4"},
    {"--layer", "N|mean", put_index, FIELD(view.layer), "show: a layer, from 1 (default: mean)", INDEX},
    {"--head", "N|mean", put_index, FIELD(view.head), "show: a head, from 1 (default: mean)", INDEX},
    {"--rollout", NULL, flag_switch, FIELD(view.rollout), "show: attention through all layers up to --layer", NULL},
    {"--special", NULL, flag_switch, FIELD(view.keep_special), "show: with [CLS] and [SEP]", NULL},
    {"--word", "WORD", flag_string, FIELD(word), "show: the word of the picture of arcs; cat:2 is the second cat",
     FLAG_TEXT},
    {"--json", "FILE", flag_string, FIELD(json), "show: write the scores", FLAG_TEXT},
    {"--svg", "FILE", flag_string, FIELD(svg), "show: draw arcs from --word or, without it, all heads of all layers",
     FLAG_TEXT},
    {"--html", "FILE", flag_string, FIELD(html), "show: write a page with both", FLAG_TEXT},
    {"--npy", "FILE", flag_string, FIELD(npy), "embed: write the vectors as a NumPy array instead of text", FLAG_TEXT},
    {"--time", NULL, flag_switch, FIELD(time), "embed: say on stderr how long it took, reading files aside", NULL},
    {"--top", "N", flag_number, FIELD(top), "similar: how many (default: 5)", FLAG_NUMBER},
    {"--out", "FOLDER", flag_string, FIELD(out), "trace: where to write", FLAG_TEXT},
    {"--help", NULL, flag_switch, FIELD(help), "or -h: print this text", NULL},
};

static const flags all = {"attn-lens", table, sizeof table / sizeof *table};

/* The command, then what it takes. */
static bool parse_word(options *o, const char *word, size_t place) {
    if (place == 0) {
        for (size_t n = 0; n < sizeof commands / sizeof *commands; n++) {
            o->command = commands[n].command;
            if (strcmp(commands[n].name, word) == 0)
                return true;
        }
        return flags_refuse(&all, word, "is not a command");
    }
    if (commands[o->command].text && o->text == NULL)
        o->text = word;
    else if (commands[o->command].file && o->file == NULL)
        o->file = word;
    else
        return flags_refuse(&all, word, "is one argument too many");
    return true;
}

static bool check_complete(options *o, size_t given) {
    if (o->help)
        return true;
    if (given == 0)
        return flags_refuse(&all, "attn-lens", "needs a command");
    if (commands[o->command].text && o->text == NULL)
        return flags_refuse(&all, commands[o->command].name, "needs a sentence");
    if (o->file == NULL)
        o->file = "-";
    if (o->command == COMMAND_TRACE && o->out == NULL)
        return flags_refuse(&all, "trace", "needs --out");
    if (o->model == NULL)
        return flags_refuse(&all, "--model", "is missing; examples/lens/get-model.sh fetches one");
    return true;
}

bool options_parse(options *o, int argc, char **argv) {
    size_t given = 0;
    *o = (options){.top = 5};
    for (int i = 1; i < argc; i++) {
        if (!(flags_match(&all, argv[i]) ? flags_take(&all, o, argc, argv, &i) : parse_word(o, argv[i], given++)))
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
    flags_help(&all, file);
}
