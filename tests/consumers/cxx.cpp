// SPDX-License-Identifier: BSD-3-Clause
// attn.hpp: owners, statuses and exceptions, views. Memory is counted: what owners give back, and when.
#undef NDEBUG
#include <attn/attn.hpp>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

struct half {
    std::uint16_t bits;
};

} // namespace

template <> struct attn::dtype_of<half> : attn::dtype_constant<ATTN_F16> {};

namespace {

static_assert(!std::is_copy_constructible_v<attn::linear> && !std::is_copy_assignable_v<attn::linear>);
static_assert(std::is_nothrow_move_constructible_v<attn::linear> && std::is_nothrow_move_assignable_v<attn::linear>);
static_assert(!std::is_convertible_v<attn_linear *, attn::linear>);
static_assert(sizeof(attn::linear) == sizeof(attn_linear *));
static_assert(sizeof(attn::params<attn_sdpa_params>) == sizeof(attn_sdpa_params));
static_assert(attn::dense({2, 3, 4, 5})[0] == 60 && attn::dense({2, 3, 4, 5})[2] == 5);

constexpr std::size_t M = 4, T = 3;
std::size_t blocks_held;

void *allocate(void *, std::size_t size) {
    blocks_held++;
    return std::malloc(size);
}

void release(void *, void *pointer) {
    blocks_held--;
    std::free(pointer);
}

attn::context make_context() {
    attn::context context;
    attn::params<attn_context_options> options;
    options.threads = 1;
    options.allocator = {allocate, release, nullptr};
    attn::check(attn_context_create(&options, context.out()));
    return context; // moves
}

const std::vector<float> weights(3 * M * M, 0.5F);

attn::params<attn_linear_params> square() {
    attn::params<attn_linear_params> params;
    params.in_width = params.out_width = M;
    params.weight = weights.data();
    return params;
}

attn::params<attn_mha_params> layer() {
    attn::params<attn_mha_params> params;
    params.model_width = M;
    params.heads = 1;
    params.in_weight = params.out_weight = weights.data();
    return params;
}

void owners_give_back(const attn::context &context) {
    const std::size_t before = blocks_held;
    {
        attn::linear one, other;
        const auto params = square();
        assert(!one && one.get() == nullptr);
        attn::check(attn_linear_create(context, &params, one.out()), context);
        const std::size_t with_one = blocks_held;
        attn_linear *const object = one;
        assert(object && with_one > before);
        other = std::move(one);
        assert(!one && other == object);
        attn::linear third(std::move(other));
        assert(!other && third == object && blocks_held == with_one);
        attn::check(attn_linear_create(context, &params, third.out()), context); // in the place of the first
        assert(blocks_held == with_one);
        other = attn::linear(third.release());
        assert(!third && other && blocks_held == with_one);
        attn::check(attn_linear_create(context, &params, third.out()), context);
        other = std::move(third);
        assert(blocks_held == with_one);
        attn::linear &same = other;
        other = std::move(same);
        assert(other && blocks_held == with_one);
        other = {};
        assert(blocks_held == before);
        attn::check(attn_linear_create(context, &params, third.out()), context);
    }
    assert(blocks_held == before);
}

void all_objects_are_owned(const attn::context &context) {
    const std::size_t before = blocks_held;
    {
        attn::cache_pool pool; // which outlives the cache
        attn::cache cache;
        attn::mha mha;
        attn::block block;
        attn::params<attn_cache_pool_params> pool_params;
        attn::params<attn_cache_params> cache_params;
        attn::params<attn_block_params> block_params;
        const auto attention = layer();
        pool_params.pages = cache_params.batch = pool_params.kv_heads = 1;
        pool_params.head_width = M;
        attn::check(attn_cache_pool_create(context, &pool_params, pool.out()), context);
        cache_params.capacity = T;
        cache_params.pool = pool;
        attn::check(attn_cache_create(context, &cache_params, cache.out()), context);
        attn::check(attn_mha_create(context, &attention, mha.out()), context);
        block_params.self_attention = &attention;
        attn::check(attn_block_create(context, &block_params, block.out()), context);
        std::vector<float> x(T * M, 1), y(T * M);
        const attn_tensor in = attn::tensor(x.data(), {1, 1, T, M}), out = attn::tensor(y.data(), {1, 1, T, M});
        attn::params<attn_mha_inputs> inputs;
        inputs.cache = cache;
        attn::check(attn_mha_attend(context, mha, &in, &out, &inputs), context);
        assert(attn_cache_length(cache, 0) == T);
        attn::check(attn_block_forward(context, block, &in, &out, nullptr), context);
    }
    attn::check(attn_context_reserve(context, 0), context);
    assert(blocks_held >= before); // scratch, which the context keeps
}

void failures_say_what(const attn::context &context) {
    attn::linear linear;
    auto params = square();
    params.weight = nullptr;
    assert(attn_linear_create(context, &params, linear.out()) == ATTN_ERROR_NULL && !linear); // as a status
    try {
        attn::check(attn_linear_create(context, &params, linear.out()), context);
        assert(false);
    } catch (const attn::error &e) {
        assert(e.status() == ATTN_ERROR_NULL && std::string(e.what()).find("weight") != std::string::npos);
    }
    try {
        attn::context none;
        attn::params<attn_context_options> options;
        options.blas = "nonsense";
        attn::check(attn_context_create(&options, none.out()));
        assert(false);
    } catch (const std::runtime_error &e) {
        assert(std::string(e.what()).find("nonsense") != std::string::npos);
    }
}

void views() {
    float x[2 * 3 * 4 * 5] = {};
    const float *constant = x;
    half halves[6] = {};
    bool mask[6] = {};
    const attn_tensor dense = attn::tensor(constant, {2, 3, 4, 5}), c = attn_tensor_bhtd(x, ATTN_F32, 2, 3, 4, 5);
    assert(dense.data == x && dense.dtype == ATTN_F32);
    assert(std::memcmp(dense.size, c.size, sizeof c.size) == 0);
    assert(std::memcmp(dense.stride, c.stride, sizeof c.stride) == 0);
    const attn_tensor by_token = attn::tensor(x, {2, 3, 4, 5}, {60, 5, 15, 1});
    assert(by_token.size[1] == 3 && by_token.stride[1] == 5 && by_token.stride[2] == 15);
    assert(attn::row<float>(by_token, 1, 2, 3) == x + 60 + 10 + 45);
    assert(attn::row<const float>(dense, 1, 2, 3) == x + 60 + 40 + 15);
    const attn_tensor tokens = attn::part(by_token, 2, 1, 2), heads = attn::part(tokens, 1, 2, 1);
    assert(tokens.size[2] == 2 && tokens.data == x + 15 && heads.size[1] == 1 && heads.data == x + 25);
    assert(attn::tensor(halves, {1, 1, 2, 3}).dtype == ATTN_F16 && attn::tensor(mask, {1, 1, 2, 3}).dtype == ATTN_BOOL);
    assert(attn::part(attn::tensor(halves, {1, 1, 2, 3}), 2, 1, 1).data == halves + 3);
    assert(attn::part(attn::tensor(mask, {1, 1, 2, 3}), 3, 1, 2).data == mask + 1);
    assert(attn::part(attn_tensor_bhtd(nullptr, ATTN_F32, 1, 1, 2, 3), 2, 1, 1).data == nullptr);
#if __cplusplus >= 202002L
    assert(attn::tensor(std::span(x), {2, 3, 4, 5}).data == x);
    assert(attn::tensor(std::span(constant, 6), {1, 1, 2, 3}).stride[2] == 3);
#endif
}

void parameters_are_defaults() {
    attn::params<attn_sdpa_params> params;
    attn_sdpa_params c;
    ATTN_INIT(&c);
    assert(std::memcmp(static_cast<attn_sdpa_params *>(&params), &c, sizeof c) == 0);
}

} // namespace

int main() {
    {
        const attn::context context = make_context();
        owners_give_back(context);
        all_objects_are_owned(context);
        failures_say_what(context);
    }
    assert(blocks_held == 0);
    views();
    parameters_are_defaults();
    std::puts("ok");
}
