// SPDX-License-Identifier: BSD-3-Clause
// libattn for C++17: owners of libattn's objects, parameter structs that begin as defaults, views made of pointers,
// sizes and strides. Calls stay those of attn.h, which is the manual: owners are taken where a pointer is. Nothing here
// allocates, copies elements or costs more than what it stands for in C.
//
//     attn::context context;
//     attn::check(attn_context_create(nullptr, context.out()));
//     const attn_tensor q = attn::tensor(data, {B, H, T, D});
//     attn::params<attn_sdpa_params> params;
//     params.causal = ATTN_CAUSAL_TOP_LEFT;
//     attn::check(attn_sdpa(context, &q, &q, &q, &out, &params), context);
//
// Every call returns its status. Who wants exceptions puts `check` around calls; without it, and with -fno-exceptions,
// nothing throws. Callbacks are called by C: they must not throw.
#ifndef ATTN_ATTN_HPP
#define ATTN_ATTN_HPP

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <type_traits>
#include <utility>
#if __cplusplus >= 202002L
#include <span>
#endif

#include "attn.h"

namespace attn {

// Owns an object of libattn, or none. An object is destroyed after those that use it: a cache pool after its caches,
// all of them before the allocator of their context goes. In C++ that is the reverse order of declaration.
template <class T, void (*Destroy)(T *)> class handle {
  public:
    handle() noexcept = default;
    explicit handle(T *object) noexcept : object_(object) {} // takes it over
    handle(handle &&other) noexcept : object_(other.release()) {}
    handle &operator=(handle &&other) noexcept {
        T *const object = other.release(); // first, as it may be this one's
        *out() = object;
        return *this;
    }
    ~handle() { Destroy(object_); }

    // For calls: attn_linear_forward(context, linear, &x, &out).
    operator T *() const noexcept { return object_; }
    [[nodiscard]] T *get() const noexcept { return object_; }

    // For attn_…_create, whose object is owned from then on. What was owned before is destroyed.
    [[nodiscard]] T **out() noexcept {
        Destroy(release());
        return &object_;
    }

    // Gives the object up: it is the caller's.
    T *release() noexcept { return std::exchange(object_, nullptr); }

  private:
    T *object_ = nullptr;
};

using context = handle<attn_context, attn_context_destroy>;
using linear = handle<attn_linear, attn_linear_destroy>;
using mha = handle<attn_mha, attn_mha_destroy>;
using block = handle<attn_block, attn_block_destroy>;
using cache = handle<attn_cache, attn_cache_destroy>;
using cache_pool = handle<attn_cache_pool, attn_cache_pool_destroy>;

// A parameter struct after ATTN_INIT: all defaults.
template <class Struct> struct params : Struct {
    static_assert(std::is_trivially_copyable_v<Struct> && std::is_trivially_default_constructible_v<Struct>);
    // cppcheck-suppress uninitDerivedMemberVar
    params() noexcept : Struct() { this->struct_size = sizeof(Struct); } // zeros, padding too
};

#if defined(__cpp_exceptions)
// A status that is not ATTN_OK. what() is attn_context_last_error: the field at fault, its value and the rule.
class error : public std::runtime_error {
  public:
    error(attn_status status, const char *what) : std::runtime_error(what), status_(status) {}
    [[nodiscard]] attn_status status() const noexcept { return status_; }

  private:
    attn_status status_;
};

// Throws where a call on that context failed; without one, where attn_context_create did.
inline void check(attn_status status, const attn_context *on = nullptr) {
    if (status == ATTN_OK)
        return;
    const char *const what = attn_context_last_error(on);
    throw error(status, *what ? what : attn_status_text(status)); // of a call that has no context
}
#endif

// The attn_dtype of an element. For a half or bfloat16 of your own:
//     template <> struct attn::dtype_of<my_half> : attn::dtype_constant<ATTN_F16> {};
template <attn_dtype Dtype> using dtype_constant = std::integral_constant<attn_dtype, Dtype>;
template <class T> struct dtype_of;
template <class T> struct dtype_of<const T> : dtype_of<T> {};
template <> struct dtype_of<float> : dtype_constant<ATTN_F32> {};
template <> struct dtype_of<bool> : dtype_constant<ATTN_BOOL> {};
template <> struct dtype_of<std::int8_t> : dtype_constant<ATTN_INT8> {};
template <class T> inline constexpr attn_dtype dtype_of_v = dtype_of<T>::value;

// [batch, heads, tokens, width], as in attn_tensor.
using sizes = std::array<std::size_t, 4>;
using strides = std::array<std::ptrdiff_t, 4>; // in elements

// Strides of a dense tensor.
constexpr strides dense(const sizes &size) noexcept {
    const std::size_t plane = size[2] * size[3];
    return {static_cast<std::ptrdiff_t>(size[1] * plane), static_cast<std::ptrdiff_t>(plane),
            static_cast<std::ptrdiff_t>(size[3]), 1};
}

// A view of the caller's memory; as in C it is one of what is const too, which only outputs write to.
template <class T> attn_tensor tensor(T *data, const sizes &size, const strides &stride) noexcept {
    static_assert(sizeof(T) == (dtype_of_v<T> == ATTN_F32 ? 4 : dtype_of_v<T> <= ATTN_BF16 ? 2 : 1));
    return {const_cast<std::remove_const_t<T> *>(data),
            dtype_of_v<T>,
            {size[0], size[1], size[2], size[3]},
            {stride[0], stride[1], stride[2], stride[3]}};
}
template <class T> attn_tensor tensor(T *data, const sizes &size) noexcept { return tensor(data, size, dense(size)); }
#if __cplusplus >= 202002L
// Whether a dense tensor has so many elements at most.
constexpr bool fits(const sizes &size, std::size_t count) noexcept {
    for (const std::size_t n : size)
        if (n == 0)
            return true;
    for (const std::size_t n : size)
        count /= n;
    return count > 0;
}
template <class T, std::size_t N> attn_tensor tensor(std::span<T, N> data, const sizes &size) noexcept {
    assert(fits(size, data.size()));
    return tensor(data.data(), size);
}
#endif

// A part of a view: `count` from `first` on, of one axis (0 to 3).
inline attn_tensor part(attn_tensor view, std::size_t axis, std::size_t first, std::size_t count) noexcept {
    assert(axis < 4 && first <= view.size[axis] && count <= view.size[axis] - first);
    const std::ptrdiff_t bytes = view.dtype == ATTN_F32 ? 4 : view.dtype <= ATTN_BF16 ? 2 : 1;
    if (view.data)
        view.data = static_cast<char *>(view.data) + static_cast<std::ptrdiff_t>(first) * view.stride[axis] * bytes;
    view.size[axis] = count;
    return view;
}

// Where element (b, h, t, 0) is, which the others of the token follow.
template <class T> T *row(const attn_tensor &view, std::size_t b, std::size_t h, std::size_t t) noexcept {
    assert(view.dtype == dtype_of_v<T> && b < view.size[0] && h < view.size[1] && t < view.size[2]);
    return static_cast<T *>(view.data) + static_cast<std::ptrdiff_t>(b) * view.stride[0] +
           static_cast<std::ptrdiff_t>(h) * view.stride[1] + static_cast<std::ptrdiff_t>(t) * view.stride[2];
}

} // namespace attn

#endif
