/* SPDX-License-Identifier: BSD-3-Clause */
#include "options.h"

#include <string.h>

#include "flags.h"

static const flag_command commands[] = {
    [COMMAND_SHOW] = {"show", true, false, "SENTENCE        what its words attend to"},
    [COMMAND_EMBED] = {"embed", false, true, "[FILE]         a vector for each line"},
    [COMMAND_SIMILAR] = {"similar", true, true, "SENTENCE [FILE]  the lines nearest to the sentence"},
    [COMMAND_TOKENS] = {"tokens", false, true, "[FILE]        the token ids of each line"},
    [COMMAND_TRACE] = {"trace", true, false, "SENTENCE --out FOLDER  hidden states and attention weights as .npy"},
};

/* From 1, or "mean", which is 0. */
static bool put_index(void *field, const char *value) {
    if (strcmp(value, "mean") != 0)
        return flag_number(field, value) && *(size_t *)field > 0;
    *(size_t *)field = 0;
    return true;
}

static bool put_precision(void *field, const char *value) {
    static const struct choice {
        const char *name;
        arithmetic is;
    } choices[] = {{"f32", {ATTN_PRECISION_F32, ATTN_F32}},
                   {"bf16", {ATTN_PRECISION_BF16, ATTN_F32}},
                   {"int8", {ATTN_PRECISION_INT8, ATTN_INT8}},
                   {"int4", {ATTN_PRECISION_INT8, ATTN_INT4}}};
    const struct choice *found = flags_named(choices, sizeof choices / sizeof *choices, sizeof *choices, value);
    if (found != NULL)
        *(arithmetic *)field = found->is;
    return found != NULL;
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

static const flags all = {
    .program = "attn-lens",
    .usage = "COMMAND --model FOLDER [option...]\n"
             "Looks into a BERT encoder that runs on libattn.",
    .note = "\nFILE has a sentence on each line; without it, or with -, the standard input is read.\n",
    .commands = commands,
    .command_count = sizeof commands / sizeof *commands,
    .table = table,
    .count = sizeof table / sizeof *table,
};

static bool check_complete(const options *o) {
    if (commands[o->command].text && o->text == NULL)
        return flags_refuse(&all, commands[o->command].name, "needs a sentence");
    if (o->command == COMMAND_TRACE && o->out == NULL)
        return flags_refuse(&all, "trace", "needs --out");
    if (o->model == NULL)
        return flags_refuse(&all, "--model", "is missing; examples/lens/get-model.sh fetches one");
    return true;
}

bool options_parse(options *o, int argc, char **argv) {
    flag_words given;
    *o = (options){.top = 5};
    if (!flags_parse(&all, o, &given, argc, argv))
        return false;
    if (o->help)
        return true;
    if (given.command == NULL)
        return flags_refuse(&all, all.program, "needs a command");
    o->command = (command)(given.command - commands);
    o->text = given.text;
    o->file = given.file == NULL ? "-" : given.file;
    return check_complete(o);
}

void options_help(FILE *file) { flags_help(&all, file); }
