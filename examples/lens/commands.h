/* SPDX-License-Identifier: BSD-3-Clause */
/* What attn-lens does: a function for each command. */
#ifndef LENS_COMMANDS_H
#define LENS_COMMANDS_H

#include "model.h"
#include "options.h"

bool command_show(const options *o, attn_context *context, const model *m, example_error *e);
bool command_embed(const options *o, attn_context *context, const model *m, example_error *e);
bool command_similar(const options *o, attn_context *context, const model *m, example_error *e);
bool command_tokens(const options *o, attn_context *context, const model *m, example_error *e);
bool command_trace(const options *o, attn_context *context, const model *m, example_error *e);

#endif
