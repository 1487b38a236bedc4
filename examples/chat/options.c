/* SPDX-License-Identifier: BSD-3-Clause */
#include "options.h"

#include <stdlib.h>

#include "flags.h"

static const flag_command commands[] = {
    [COMMAND_CHAT] = {"chat", false, false, "             talk; with -p answer, and end"},
    [COMMAND_PERPLEXITY] = {"perplexity", false, true, "FILE   of a text, in windows of 512 tokens"},
    [COMMAND_BENCH] = {"bench", false, false, "            tokens a second, of prompts and of answers"},
    [COMMAND_TOKENS] = {"tokens", false, true, "FILE       the token ids of each line; - is the standard input"},
    [COMMAND_LOGITS] = {"logits", false, true, "FILE       of each token of a text, f32, to --out"},
};

static bool put_prompt(void *field, const char *value) {
    prompts *p = field;
    if (p->count == PROMPTS_MAX || *value == '\0')
        return false;
    p->item[p->count++] = value;
    return true;
}

static bool put_weights(void *field, const char *value) {
    static const struct choice {
        const char *name;
        arithmetic is;
    } choices[] = {{"f32", {ATTN_PRECISION_F32, ATTN_F32}},
                   {"bf16", {ATTN_PRECISION_BF16, ATTN_F32}},
                   {"int8", {ATTN_PRECISION_F32, ATTN_INT8}},
                   {"int4", {ATTN_PRECISION_INT8, ATTN_INT4}}};
    const struct choice *found = flags_named(choices, sizeof choices / sizeof *choices, sizeof *choices, value);
    if (found != NULL)
        *(arithmetic *)field = found->is;
    return found != NULL;
}

static bool put_cache(void *field, const char *value) {
    static const struct choice {
        const char *name;
        attn_dtype type;
    } choices[] = {{"f32", ATTN_F32}, {"f16", ATTN_F16}, {"int8", ATTN_INT8}, {"int4", ATTN_INT4}};
    const struct choice *found = flags_named(choices, sizeof choices / sizeof *choices, sizeof *choices, value);
    if (found != NULL)
        *(attn_dtype *)field = found->type;
    return found != NULL;
}

static bool put_positive(void *field, const char *value) { return flag_number(field, value) && *(size_t *)field > 0; }

static bool put_real(void *field, const char *value) {
    char *end;
    *(double *)field = strtod(value, &end);
    return *value != '\0' && *end == '\0' && *(double *)field >= 0 && *(double *)field <= 100;
}

static bool put_share(void *field, const char *value) {
    return put_real(field, value) && *(double *)field > 0 && *(double *)field <= 1;
}

#define FIELD(name) offsetof(options, name)
#define POSITIVE "a whole number from 1 to 999999"

static const flag table[] = {
    {"--model", "FILE", flag_string, FIELD(model), "a GGUF file of the LLaMA architecture", FLAG_TEXT},
    {"-p", "TEXT", put_prompt, FIELD(prompts), "chat: a prompt to answer; several are answered at the same time",
     "up to 16 texts that are not empty"},
    {"--system", "TEXT", flag_string, FIELD(system), "chat: what it is told first (default: the model's own words)",
     FLAG_TEXT},
    {"--weights", "f32|...", put_weights, FIELD(arithmetic), "f32, bf16, int8 or int4 (default)",
     "f32, bf16, int8 or int4"},
    {"--cache", "f32|...", put_cache, FIELD(cache), "keys and values: f32, f16 (default), int8 or int4",
     "f32, f16, int8 or int4"},
    {"--threads", "N", flag_number, FIELD(threads), "0, the default: all cores", FLAG_NUMBER},
    {"--context", "N", put_positive, FIELD(context), "tokens there is room for (default: 4096, the model's at most)",
     POSITIVE},
    {"--most", "N", put_positive, FIELD(most), "chat: tokens of an answer (default: 512)", POSITIVE},
    {"--chunk", "N", put_positive, FIELD(chunk), "tokens of a prompt at once (default: 256)", POSITIVE},
    {"--temperature", "T", put_real, FIELD(temperature), "0, the default: always the likeliest token",
     "a number from 0 to 100"},
    {"--top-k", "K", flag_number, FIELD(top_k), "of the K likeliest (default: 40; 0: all)", FLAG_NUMBER},
    {"--top-p", "P", put_share, FIELD(top_p), "of those that make up P of the probability (default: 0.9)",
     "a number from 0 to 1, not 0"},
    {"--seed", "N", flag_number, FIELD(seed), "of the random numbers (default: 1)", FLAG_NUMBER},
    {"--attention", NULL, flag_switch, FIELD(attention), "chat: at which words the last token looked", NULL},
    {"--out", "FILE", flag_string, FIELD(out), "logits: where to write", FLAG_TEXT},
    {"--help", NULL, flag_switch, FIELD(help), "or -h: print this text", NULL},
};

static const flags all = {
    .program = "attn-chat",
    .usage = "COMMAND --model FILE [option...]\n"
             "A language model, token by token, that runs on libattn.",
    .note = "",
    .commands = commands,
    .command_count = sizeof commands / sizeof *commands,
    .table = table,
    .count = sizeof table / sizeof *table,
};

static bool check_complete(const options *o) {
    if (commands[o->command].file && o->file == NULL)
        return flags_refuse(&all, commands[o->command].name, "needs a file");
    if (o->command == COMMAND_LOGITS && o->out == NULL)
        return flags_refuse(&all, "logits", "needs --out");
    if (o->attention && o->prompts.count > 1)
        return flags_refuse(&all, "--attention", "is of one prompt");
    if (o->model == NULL)
        return flags_refuse(&all, "--model", "is missing; examples/chat/get-model.sh fetches one");
    return true;
}

bool options_parse(options *o, int argc, char **argv) {
    flag_words given;
    *o = (options){.arithmetic = {ATTN_PRECISION_INT8, ATTN_INT4},
                   .cache = ATTN_F16,
                   .context = 4096,
                   .most = 512,
                   .chunk = 256,
                   .top_k = 40,
                   .top_p = 0.9,
                   .seed = 1};
    if (!flags_parse(&all, o, &given, argc, argv))
        return false;
    if (o->help)
        return true;
    if (given.command == NULL)
        return flags_refuse(&all, all.program, "needs a command");
    o->command = (command)(given.command - commands);
    o->file = given.file;
    return check_complete(o);
}

void options_help(FILE *file) { flags_help(&all, file); }
