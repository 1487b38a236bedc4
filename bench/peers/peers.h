/* SPDX-License-Identifier: BSD-3-Clause */
/* What the comparison with other attention engines calls, from Python through ctypes. Pointers are dense row-major f32.
 * B batch, H query heads, G key/value heads, Lq and Lk tokens, D head width, M model width. Each *_new returns NULL on
 * failure. */
#ifndef ATTN_BENCH_PEERS_H
#define ATTN_BENCH_PEERS_H

#ifdef __cplusplus
extern "C" {
#endif

/* q [B,H,Lq,D], k and v [B,G,Lk,D], o [B,H,Lq,D]; causal is top-left where Lq = Lk. */
void *peer_sdpa_new(int B, int H, int G, int Lq, int Lk, int D, int causal, int threads);
void peer_sdpa_run(void *handle, const float *q, const float *k, const float *v, float *o);
void peer_sdpa_free(void *handle);

/* Self-attention layer, weights [M out, M in] as PyTorch stores them, x and y [B,L,M]. Packing happens in new. */
void *peer_mha_new(int B, int L, int M, int H, int threads, const float *wq, const float *wk, const float *wv,
                   const float *wo, const float *bq, const float *bk, const float *bv, const float *bo);
void peer_mha_run(void *handle, const float *x, float *y);
void peer_mha_free(void *handle);

/* One decoding step over a cache that already holds Lk tokens: q and o [B,H,1,D], k and v [B,G,Lk,D], which must stay
 * until peer_decode_free. */
void *peer_decode_new(int B, int H, int G, int Lk, int D, int threads, const float *k, const float *v);
void peer_decode_run(void *handle, const float *q, float *o);
void peer_decode_free(void *handle);

/* The same in other types, freed in the same way. dtype: 0 f32, 1 f16, 2 bf16, of q, k, v and o (of x, y and the
 * weights); 4: int8 weights, x and y f32. precision: that of attn_precision. Weights come as f32 and are converted in
 * new. */
void *peer_typed_sdpa_new(int B, int H, int G, int Lq, int Lk, int D, int causal, int threads, int dtype,
                          int precision);
void peer_typed_sdpa_run(void *handle, const void *q, const void *k, const void *v, void *o);
void *peer_typed_mha_new(int B, int L, int M, int H, int threads, int dtype, int precision, const float *wq,
                         const float *wk, const float *wv, const float *wo, const float *bq, const float *bk,
                         const float *bv, const float *bo);
void peer_typed_mha_run(void *handle, const void *x, void *y);
/* y [rows, out] = x [rows, in] · Wᵀ + b, W [out, in]. */
void *peer_typed_linear_new(int rows, int in, int out, int threads, int dtype, int precision, const float *w,
                            const float *b);
void peer_typed_linear_run(void *handle, const void *x, void *y);

/* Forward and backward in one run, freed as the others: from g, the gradient of o, to dq, dk and dv; all f32, shapes as
 * in peer_sdpa. */
void *peer_backward_new(int B, int H, int G, int Lq, int Lk, int D, int causal, int threads);
void peer_backward_run(void *handle, const float *q, const float *k, const float *v, const float *g, float *o,
                       float *dq, float *dk, float *dv);

/* The machine's FMA peak: runs about `flops` floating-point operations on this thread, returns how many it did. */
double peer_fma_peak(double flops);

#ifdef __cplusplus
}
#endif

#endif
