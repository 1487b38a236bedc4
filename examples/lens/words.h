/* SPDX-License-Identifier: BSD-3-Clause */
/* From attention between tokens to attention between words. */
#ifndef LENS_WORDS_H
#define LENS_WORDS_H

#include "encoder.h"

typedef struct words {
    size_t count;
    char **label; /* [count], as the sentence has them; "[CLS]" and "[SEP]" */
    size_t *word; /* [T], of each token */
} words;

bool words_make(words *w, const vocab *v, const tokens *t, slice text, example_error *e);
void words_free(words *w);

/* Which attention to look at. */
typedef struct view {
    size_t layer, head; /* from 1; 0: the mean over all */
    bool rollout;       /* through the layers up to `layer` (0: all), heads averaged */
    bool keep_special;  /* [CLS] and [SEP] take part; otherwise rows are of the words alone and sum to 1 */
} view;

/* scores [words,words]: row i is what word i attends to. What a word gets is the sum over its pieces, what it gives is
 * their mean: Clark et al., "What does BERT look at?", 2019. Roll-out follows attention through the layers, half of
 * each token being passed on by the residual: Abnar and Zuidema, "Quantifying attention flow in transformers", 2020. */
bool words_attend(const words *w, const model *m, const trace *t, const view *v, float *scores, example_error *e);

/* Whether the word is a token around the sentence, not in it. */
bool words_special(const words *w, size_t word);

#endif
