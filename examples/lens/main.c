/* SPDX-License-Identifier: BSD-3-Clause */
/* attn-lens: what attention looks at in a sentence. */
#include <attn/attn.h>
#include <stdio.h>

#include "commands.h"
#include "model.h"
#include "options.h"

#define EXIT_USAGE 2

static bool (*const command_run[])(const options *o, attn_context *context, const model *m, example_error *e) = {
    [COMMAND_SHOW] = command_show,     [COMMAND_EMBED] = command_embed, [COMMAND_SIMILAR] = command_similar,
    [COMMAND_TOKENS] = command_tokens, [COMMAND_TRACE] = command_trace,
};

static bool run_on(const options *o, attn_context *context, example_error *e) {
    model m;
    if (!model_open(&m, context, o->arithmetic.weights, o->model, e))
        return false;
    bool good = command_run[o->command](o, context, &m, e);
    model_close(&m);
    return good;
}

static bool run(const options *o, example_error *e) {
    attn_context *context;
    attn_context_options how;
    ATTN_INIT(&how);
    how.threads = o->threads;
    how.precision = o->arithmetic.precision;
    if (attn_context_create(&how, &context) != ATTN_OK)
        return example_fail(e, "libattn: %s", attn_context_last_error(NULL));
    bool good = run_on(o, context, e);
    attn_context_destroy(context);
    return good;
}

int main(int argc, char **argv) {
    options o;
    example_error e = {""};
    bool good = true;
    if (!options_parse(&o, argc, argv))
        return EXIT_USAGE;
    if (o.help)
        options_help(stdout);
    else
        good = run(&o, &e);
    return example_end("attn-lens", good, &e);
}
