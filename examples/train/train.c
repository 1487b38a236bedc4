/* SPDX-License-Identifier: BSD-3-Clause */
/* A small GPT learns to write like the files that it is given, byte by byte, and then writes some lines:
 *     train [--OPTION NUMBER]... [--svg FILE] [--record FILE] FILE...
 * The options and their defaults are those of `numbers`. It learns for so many seconds or, if --steps is given, so many
 * steps, which gives the same bits on any number of threads. The SVG shows the loss; the record is for same.py. */
#include "../trained.h"
#include <string.h>
#include <unistd.h>

enum { SECONDS, STEPS, THREADS, SEED, LAYERS, WIDTH, HEADS, TOKENS, BATCH, LETTERS, RATE, NUMBERS };
static const char *const names[] = {"--seconds", "--steps",  "--threads", "--seed",    "--layers", "--width",
                                    "--heads",   "--tokens", "--batch",   "--letters", "--rate"};
static double numbers[NUMBERS] = {110, 0, 0, 1, 4, 128, 4, 128, 16, 500, 3e-3};
static FILE *svg, *record;

static int64_t *text; /* [length], each in [0, V): the bytes that occur, in their order */
static char byte_of[256];
static size_t length, V, L, B, T, M, H;

static weights all;
static attn_embed_params embed = {sizeof embed, .positions = ATTN_POSITIONS_TABLE};
static attn_embed_gradients d_embed = {.struct_size = sizeof d_embed};
static trained_block *blocks; /* [L] */
static trained_head head;
static attn_sdpa_params causal = {sizeof causal, .causal = ATTN_CAUSAL_BOTTOM_RIGHT};
static attn_block_inputs inputs = {sizeof inputs, .self_params = &causal};

static FILE *open_file(const char *name, const char *mode) {
    FILE *file = fopen(name, mode);
    if (file == NULL)
        perror(name), exit(2);
    return file;
}

static void read_text(const char *name) {
    FILE *file = open_file(name, "rb");
    for (int c; (c = fgetc(file)) != EOF; text[length++] = c)
        text = grow(text, length, sizeof *text);
    fclose(file);
}

static void read_option(const char *name, const char *value) {
    int which = 0;
    char *end = NULL;
    while (which < NUMBERS && strcmp(name, names[which]) != 0)
        which++;
    if (value != NULL && strcmp(name, "--svg") == 0)
        svg = open_file(value, "w");
    else if (value != NULL && strcmp(name, "--record") == 0)
        record = open_file(value, "wb");
    else if (value == NULL || which == NUMBERS || !((numbers[which] = strtod(value, &end)) >= 0) || *end != '\0')
        exit(fprintf(stderr, "train: %s: no such option, or no such value\n", name) > 0 ? 2 : 1);
}

static void make_vocabulary(void) {
    int64_t id_of[256] = {0};
    for (size_t i = 0; i < length; i++)
        id_of[text[i]] = 1;
    for (int c = 0; c < 256; c++)
        if (id_of[c] != 0)
            byte_of[V] = (char)c, id_of[c] = (int64_t)V++;
    for (size_t i = 0; i < length; i++)
        text[i] = id_of[text[i]];
}

static void make_gpt(void) {
    all = weights_create((V + V + T + 2) * M + L * (12 * M + 13) * M, (uint64_t)numbers[SEED]);
    embed.token_table = add_weights(&all, V * M, 0, 0.3, &d_embed.d_token_table);
    embed.position_table = add_weights(&all, T * M, 0, 0.3, &d_embed.d_position_table);
    embed.token_count = V, embed.position_count = T;
    blocks = allocate(L, sizeof *blocks);
    for (size_t l = 0; l < L; l++)
        add_block(&all, M, H, &blocks[l]), pack_block(&blocks[l], B, T, 0);
    add_head(&all, M, V, &head);
}

/* One step; returns the loss before it. x: the embedded ids, what each block makes of them, that normed, the logits,
 * and gradients of two of these. */
static double learn(const attn_tensor *x, const int64_t *ids, const int64_t *targets, double rate) {
    const attn_tensor *normed = x + L + 1, *logits = x + L + 2, *dx = x + L + 3;
    embed.ids = ids;
    check(attn_embed(context, &embed, x));
    for (size_t l = 0; l < L; l++)
        block_forward(&blocks[l], x + l, x + l + 1, &inputs);
    head_forward(&head, x + L, normed, logits);
    const double loss = head_backward(&head, x + L, normed, logits, targets, dx + L % 2);
    for (size_t l = L; l-- > 0;)
        block_backward(&blocks[l], x + l, dx + (l + 1) % 2, &inputs, dx + l % 2);
    check(attn_embed_backward(context, &embed, dx, &d_embed));
    adamw(&all, rate);
    for (size_t l = 0; l < L; l++)
        check(attn_block_update(context, blocks[l].block, &blocks[l].params));
    check(attn_linear_update(context, head.linear, &head.params));
    return loss;
}

/* B pieces of the text, from anywhere, and what follows each of their bytes: [2,B,T]. */
static void draw_batch(int64_t *ids) {
    for (size_t b = 0; b < B; b++) {
        const int64_t *from = text + (size_t)(draw(&all.random) * (double)(length - T));
        memcpy(ids + b * T, from, T * sizeof *ids);
        memcpy(ids + (B + b) * T, from + 1, T * sizeof *ids);
    }
}

static void show_progress(size_t steps, double loss, double seconds, double done) {
    const int left = (int)(seconds / done - seconds);
    fprintf(stderr, "\r\033[Kstep %zu, loss %.3f, %.0f tokens/s, %d:%02d left", steps, loss,
            (double)(steps * B * T) / seconds, left / 60, left % 60);
}

/* Returns the losses of *steps steps. */
static double *train(size_t *steps) {
    const double begin = now();
    attn_tensor *x = allocate(L + 5, sizeof *x);
    float *data = allocate(B * T * ((L + 4) * M + V), sizeof *data), *next = data;
    int64_t *ids = allocate(2 * B * T, sizeof *ids);
    double *losses = NULL;
    for (size_t i = 0; i < L + 5; next += B * T * x[i++].size[3])
        x[i] = attn_tensor_btm(next, ATTN_F32, B, T, i == L + 2 ? V : M);
    for (double done = 0; done < 1;) {
        const double rate = numbers[RATE] * fmin(1, (double)(*steps + 1) / 20) * (1 - 0.9 * done);
        draw_batch(ids);
        const double loss = learn(x, ids, ids + B * T, rate), seconds = now() - begin;
        losses = grow(losses, *steps, sizeof *losses);
        losses[(*steps)++] = loss;
        if (record != NULL)
            fwrite(ids, sizeof *ids, 2 * B * T, record), fwrite((double[]){rate, loss}, sizeof rate, 2, record);
        done = numbers[STEPS] > 0 ? (double)*steps / numbers[STEPS] : fmin(1, seconds / numbers[SECONDS]);
        if (isatty(STDERR_FILENO) || done == 1)
            show_progress(*steps, loss, seconds, done);
    }
    fputc('\n', stderr);
    free(x), free(data), free(ids);
    return losses;
}

/* A chart of up to 200 points, each the mean of as many steps. */
static void draw_losses(const double *losses, size_t steps) {
    const double top = ceil(losses[0]), width = 560, height = 280;
    const size_t points = steps < 200 ? steps : 200;
    fputs("<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"640\" height=\"360\" viewBox=\"-40 -40 640 "
          "360\">\n"
          "<title>Loss</title>\n<style>text{font:13px system-ui,sans-serif;fill:#59636e}.page{fill:#fff}"
          ".grid{stroke:#d8dee4}.loss{fill:none;stroke:#0072b2;stroke-width:2}@media (prefers-color-scheme:dark){"
          "text{fill:#9da7b1}.page{fill:#0d1117}.grid{stroke:#2b323b}.loss{stroke:#56b4e9}}</style>\n"
          "<rect class=\"page\" x=\"-40\" y=\"-40\" width=\"640\" height=\"360\"/>\n"
          "<text x=\"-25\" y=\"-18\">Loss, nats a byte, by step</text>\n",
          svg);
    for (double y = 0; y <= top; y++)
        fprintf(svg, "<text x=\"-25\" y=\"%.1f\">%.0f</text><path class=\"grid\" d=\"M0 %.1fH%.0f\"/>\n",
                height * (1 - y / top) + 4, y, height * (1 - y / top), width);
    for (size_t x = 0; x <= 4; x++)
        fprintf(svg, "<text x=\"%.0f\" y=\"%.0f\" text-anchor=\"middle\">%zu</text>\n", width * (double)x / 4,
                height + 20, steps * x / 4);
    fputs("<polyline class=\"loss\" points=\"", svg);
    for (size_t p = 0, i = 0; p < points; p++) {
        const size_t first = i, end = (p + 1) * steps / points;
        double sum = 0;
        for (; i < end; i++)
            sum += losses[i];
        fprintf(svg, "%.1f,%.1f ", width * (double)(first + end) / 2 / (double)steps,
                height * (1 - sum / (double)(end - first) / top));
    }
    fputs("\"/>\n</svg>\n", svg);
}

/* An id drawn by the logits, which become its probabilities, somewhat surer than they are. */
static int64_t choose(float *logits) {
    double left = draw(&all.random);
    int64_t id = 0;
    for (size_t i = 0; i < V; i++)
        logits[i] /= 0.8F;
    check(attn_softmax(context, 1, V, logits, V, logits, V, NULL));
    while (id + 1 < (int64_t)V && (left -= (double)logits[id]) > 0)
        id++;
    return id;
}

/* The logits of what follows n ids: those behind the first `cached` enter the caches, [L]. */
static float *decode(const int64_t *ids, size_t n, size_t cached, attn_cache **caches, float *data) {
    const attn_tensor x = attn_tensor_btm(data, ATTN_F32, 1, n - cached, M);
    const attn_tensor last = attn_tensor_btm(data + (n - cached - 1) * M, ATTN_F32, 1, 1, M);
    const attn_tensor logits = attn_tensor_btm(data + T * M, ATTN_F32, 1, 1, V);
    embed.ids = ids + cached, embed.first_position = cached;
    check(attn_embed(context, &embed, &x));
    for (size_t l = 0; l < L; l++) {
        inputs.cache = caches[l];
        check(cached > 0 ? ATTN_OK : attn_cache_reset(context, caches[l]));
        check(attn_block_forward(context, blocks[l].block, &x, &x, &inputs));
    }
    head_forward(&head, &last, &last, &logits);
    return logits.data;
}

/* Goes on from the text's first byte; where the positions end, from the second half of what was written last. */
static void write_letters(size_t letters) {
    const attn_cache_params p = {sizeof p, .batch = 1, .capacity = T, .kv_heads = H, .head_width = M / H};
    attn_cache **caches = allocate(L, sizeof(attn_cache *));
    int64_t *ids = allocate(T + 1, sizeof *ids);
    float *data = allocate(T * M + V, sizeof *data);
    for (size_t l = 0; l < L; l++)
        check(attn_cache_create(context, &p, &caches[l]));
    ids[0] = text[0];
    for (size_t n = 1, cached = 0; letters-- > 0; putchar(byte_of[ids[n++]])) {
        if (n > T) {
            n = (T + 1) / 2, cached = 0;
            memmove(ids, ids + T + 1 - n, n * sizeof *ids);
        }
        ids[n] = choose(decode(ids, n, cached, caches, data));
        cached = n;
    }
    putchar('\n');
    for (size_t l = 0; l < L; l++)
        attn_cache_destroy(caches[l]);
    free(caches), free(ids), free(data);
}

int main(int argc, char **argv) {
    size_t steps = 0;
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], "--", 2) == 0)
            read_option(argv[i], argv[i + 1]), i++;
        else
            read_text(argv[i]);
    L = (size_t)numbers[LAYERS], M = (size_t)numbers[WIDTH], H = (size_t)numbers[HEADS];
    T = (size_t)numbers[TOKENS], B = (size_t)numbers[BATCH];
    if (length <= T)
        return fprintf(stderr, "train: the text has %zu bytes, which must be more than --tokens\n", length), 2;
    make_vocabulary();
    const attn_context_options options = {sizeof options, .threads = (size_t)numbers[THREADS]};
    check(attn_context_create(&options, &context));
    make_gpt();
    if (record != NULL) {
        fwrite((size_t[]){V, L, B, T, M, H, all.count}, sizeof(size_t), 7, record);
        fwrite(all.value, sizeof *all.value, all.count, record);
    }
    double *losses = train(&steps);
    if (svg != NULL)
        draw_losses(losses, steps), fclose(svg);
    if (record != NULL)
        fclose(record);
    write_letters((size_t)numbers[LETTERS]);
    for (size_t l = 0; l < L; l++)
        destroy_block(&blocks[l]);
    attn_linear_destroy(head.linear);
    attn_context_destroy(context);
    free(blocks), free(all.value), free(text), free(losses);
    return 0;
}
