/* SPDX-License-Identifier: BSD-3-Clause */
/* attn-chat: a language model that talks. */
#include <stdio.h>

#include "session.h"

#define EXIT_USAGE 2

static bool (*const command_run[])(session *s, example_error *e) = {
    [COMMAND_CHAT] = command_chat,     [COMMAND_PERPLEXITY] = command_perplexity, [COMMAND_BENCH] = command_bench,
    [COMMAND_TOKENS] = command_tokens, [COMMAND_LOGITS] = command_logits,
};

static bool run(const options *o, example_error *e) {
    session s;
    if (!session_open(&s, o, e))
        return false;
    const bool good = command_run[o->command](&s, e);
    session_close(&s);
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
    return example_end("attn-chat", good, &e);
}
