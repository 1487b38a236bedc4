/* SPDX-License-Identifier: BSD-3-Clause */
/* BERT in double precision, written down plainly: Devlin et al., 2019, on the blocks of Vaswani et al., 2017. */
#ifndef LENS_TESTS_BERT_H
#define LENS_TESTS_BERT_H

#include "tiny.h"

/* hidden [TINY_LAYERS+1,T,TINY_WIDTH], attention [TINY_LAYERS,TINY_HEADS,T,T]. */
void bert_run(const tiny_model *m, const size_t *ids, size_t T, double *hidden, double *attention);

/* vector [TINY_WIDTH]: the mean of the last hidden states, of length 1. */
void bert_pool(const double *hidden, size_t T, double *vector);

#endif
