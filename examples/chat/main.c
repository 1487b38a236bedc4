/* SPDX-License-Identifier: BSD-3-Clause */
/* attn-chat: a language model that talks. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    example_error e;
    if (!options_parse(&o, argc, argv))
        return EXIT_USAGE;
    if (o.help)
        options_help(stdout);
    else if (!run(&o, &e)) {
        fflush(stdout);
        fprintf(stderr, "attn-chat: %s\n", e.text);
        return EXIT_FAILURE;
    }
    if (fflush(stdout) == 0 && !ferror(stdout))
        return EXIT_SUCCESS;
    fprintf(stderr, "attn-chat: the output could not be written: %s\n", strerror(errno));
    return EXIT_FAILURE;
}
