/* SPDX-License-Identifier: BSD-3-Clause */
/* At which earlier words a token looked. */
#ifndef CHAT_LOOKS_H
#define CHAT_LOOKS_H

#include "session.h"

/* Runs the last of the tokens that the decoder's one sequence holds once more, and prints the words that its attention
 * went to, mean of all layers and heads, without special tokens and the first one, which draw most of it. */
bool looks_print(const session *s, decoder *d, const id_list *all, example_error *e);

#endif
