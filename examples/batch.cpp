// SPDX-License-Identifier: BSD-3-Clause
// An encoder in C++: sentences of different lengths in one padded batch, by the owners and views of attn.hpp. Its
// weights are random, and yet the answer is known: no sentence sees its padding, so that each is what it is alone.
#include <algorithm>
#include <attn/attn.hpp>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <random>
#include <vector>

namespace {

constexpr std::size_t B = 3, T = 7, M = 32, HEADS = 4, F = 128, LAYERS = 2;

class encoder {
  public:
    encoder() {
        attn::check(attn_context_create(nullptr, context_.out()));
        for (attn::block &block : blocks_)
            make_block(block);
    }

    // In place. Sentence b has counts[b] tokens; NULL: all.
    void encode(const attn_tensor &stream, const std::int64_t *counts) const {
        attn::params<attn_block_inputs> inputs;
        inputs.counts = counts;
        for (const attn::block &block : blocks_)
            attn::check(attn_block_forward(context_, block, &stream, &stream, &inputs), context_);
        attn::check(attn_norm(context_, &stream, &stream, nullptr), context_);
    }

  private:
    void make_block(attn::block &block) {
        attn::params<attn_mha_params> attention;
        attn::params<attn_norm_params> norm;
        attn::params<attn_feed_params> feed;
        attn::params<attn_block_params> params;
        const std::vector<float> in = random(3 * M * M), out = random(M * M), up = random(F * M), down = random(M * F);
        attention.model_width = M;
        attention.heads = HEADS;
        attention.in_weight = in.data(); // packed by attn_block_create, and not kept
        attention.out_weight = out.data();
        feed.hidden_width = F;
        feed.up_weight = up.data();
        feed.down_weight = down.data();
        params.self_attention = &attention;
        params.self_norm = params.feed_norm = &norm;
        params.feed = &feed;
        attn::check(attn_block_create(context_, &params, block.out()), context_);
    }

    std::vector<float> random(std::size_t n) {
        std::vector<float> x(n);
        std::generate(x.begin(), x.end(), [this] { return normal_(numbers_) / 4; });
        return x;
    }

    std::mt19937 numbers_;
    std::normal_distribution<float> normal_;
    attn::context context_;
    attn::block blocks_[LAYERS];
};

// The largest difference of elements of two sentences, views of as many tokens.
float difference(const attn_tensor &x, const attn_tensor &y) {
    float most = 0;
    for (std::size_t t = 0; t < x.size[2]; t++)
        for (std::size_t m = 0; m < M; m++)
            most = std::max(most, std::abs(attn::row<float>(x, 0, 0, t)[m] - attn::row<float>(y, 0, 0, t)[m]));
    return most;
}

int run() {
    const encoder network;
    const std::int64_t counts[B] = {7, 2, 5};
    std::vector<float> batch(B * T * M), alone;
    for (std::size_t i = 0; i < batch.size(); i++) // padding, too, is some number
        batch[i] = std::sin(static_cast<float>(i));
    alone = batch;
    const attn_tensor all = attn::tensor(batch.data(), {B, 1, T, M}), others = attn::tensor(alone.data(), {B, 1, T, M});
    float apart = 0;
    network.encode(all, counts);
    for (std::size_t b = 0; b < B; b++) {
        const auto tokens = static_cast<std::size_t>(counts[b]);
        const attn_tensor sentence = attn::part(attn::part(others, 0, b, 1), 2, 0, tokens);
        network.encode(sentence, nullptr);
        apart = std::max(apart, difference(sentence, attn::part(attn::part(all, 0, b, 1), 2, 0, tokens)));
    }
    std::printf("in a padded batch, sentences differ by %.1g from those alone\n", static_cast<double>(apart));
    return apart < 1e-4F ? 0 : 1;
}

} // namespace

int main() {
    try {
        return run();
    } catch (const attn::error &e) {
        std::fprintf(stderr, "batch: %s\n", e.what());
        return 1;
    }
}
