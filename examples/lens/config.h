/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LENS_CONFIG_H
#define LENS_CONFIG_H

#include "model.h"

/* Reads config.json of the folder, and max_seq_length of sentence_bert_config.json if there is one. */
bool config_read(model *m, const char *folder, example_error *e);

#endif
