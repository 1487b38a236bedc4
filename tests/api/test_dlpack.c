/* SPDX-License-Identifier: BSD-3-Clause */
/* Tensors of DLPack as views and back, and every way to convert wrongly. */
#include <attn/dlpack.h>
#include <string.h>

#include "support/fault.h"

enum { MOST = 8, BYTES = 4096 };

static attn_context *context;
static _Alignas(8) char data[BYTES];

/* A tensor of DLPack with its shape and strides. */
typedef struct packed {
    int64_t shape[MOST], strides[MOST];
    DLTensor tensor;
} packed;

/* Of floats, dense without strides; sizes as many as there are axes. */
static void pack(packed *p, const char *axes, const int64_t *sizes, const int64_t *strides) {
    const size_t n = strlen(axes);
    *p = (packed){.tensor = {data, {kDLCPU, 0}, (int32_t)n, {kDLFloat, 32, 1}, p->shape, NULL, 0}};
    memcpy(p->shape, sizes, n * sizeof *sizes);
    if (strides) {
        memcpy(p->strides, strides, n * sizeof *strides);
        p->tensor.strides = p->strides;
    }
}

static attn_tensor view_of(const char *axes, const packed *p) {
    attn_tensor view;
    assert_ok(context, attn_tensor_from_dlpack(context, axes, &p->tensor, &view));
    return view;
}

static void assert_view(attn_tensor got, const size_t size[4], const ptrdiff_t stride[4]) {
    assert_int_equal(got.dtype, ATTN_F32);
    assert_memory_equal(got.size, size, sizeof got.size);
    for (int i = 0; i < 4; i++)
        if (size[i] != 1)
            assert_int_equal(got.stride[i], stride[i]);
}

static int make_context(void **state) {
    (void)state;
    context = new_context_of(1, 0);
    return 0;
}

static void axes_become_dimensions(void **state) {
    (void)state;
    static const struct {
        const char *axes;
        int64_t shape[4];
        size_t size[4];
        ptrdiff_t stride[4];
    } cases[] = {{"BHTD", {2, 3, 4, 5}, {2, 3, 4, 5}, {60, 20, 5, 1}},
                 {"BTHD", {2, 4, 3, 5}, {2, 3, 4, 5}, {60, 5, 15, 1}},
                 {"BTGE", {2, 4, 3, 5}, {2, 3, 4, 5}, {60, 5, 15, 1}},
                 {"BTM", {2, 4, 5}, {2, 1, 4, 5}, {20, 0, 5, 1}},
                 {"TBM", {4, 2, 5}, {2, 1, 4, 5}, {5, 0, 10, 1}},
                 {"THD", {4, 3, 5}, {1, 3, 4, 5}, {0, 5, 15, 1}},
                 {"TM", {4, 5}, {1, 1, 4, 5}, {0, 0, 5, 1}},
                 {"D", {5}, {1, 1, 1, 5}, {0, 0, 0, 1}},
                 {"", {0}, {1, 1, 1, 1}, {0}},
                 {"BTM", {2, 0, 5}, {2, 1, 0, 5}, {5, 0, 5, 1}}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        packed p;
        pack(&p, cases[i].axes, cases[i].shape, NULL);
        name_case("axes \"%s\", case %zu", cases[i].axes, i);
        const attn_tensor view = view_of(cases[i].axes, &p);
        assert_view(view, cases[i].size, cases[i].stride);
        assert_ptr_equal(view.data, data);
    }
}

static void strides_and_offsets_stay(void **state) {
    (void)state;
    const int64_t shape[] = {2, 3, 4, 5}, strides[] = {-7, 0, 1000, 1};
    packed p;
    pack(&p, "BHTD", shape, strides);
    p.tensor.byte_offset = 64;
    const attn_tensor view = view_of("BHTD", &p);
    assert_view(view, (const size_t[]){2, 3, 4, 5}, (const ptrdiff_t[]){-7, 0, 1000, 1});
    assert_ptr_equal(view.data, data + 64);
}

static void nothing_needs_no_data(void **state) {
    (void)state;
    packed p;
    pack(&p, "TM", (const int64_t[]){0, 5}, NULL);
    p.tensor.data = NULL;
    p.tensor.byte_offset = 4;
    assert_null(view_of("TM", &p).data);
}

static void types_of_both(void **state) {
    (void)state;
    static const struct {
        DLDataType type;
        attn_dtype dtype;
    } cases[] = {{{kDLFloat, 32, 1}, ATTN_F32},
                 {{kDLFloat, 16, 1}, ATTN_F16},
                 {{kDLBfloat, 16, 1}, ATTN_BF16},
                 {{kDLBool, 8, 1}, ATTN_BOOL},
                 {{kDLUInt, 8, 1}, ATTN_BOOL}};
    packed p;
    pack(&p, "TM", (const int64_t[]){2, 5}, NULL);
    for (size_t i = 0; i < COUNT(cases); i++) {
        packed back = {0};
        p.tensor.dtype = cases[i].type;
        const attn_tensor view = view_of("TM", &p);
        assert_int_equal(view.dtype, cases[i].dtype);
        assert_ok(context, attn_tensor_to_dlpack(context, "TM", &view, back.shape, back.strides, &back.tensor));
        if (cases[i].type.code != kDLUInt)
            assert_memory_equal(&back.tensor.dtype, &cases[i].type, sizeof(DLDataType));
    }
}

/* [B,T,H,D] in memory, as a view, as tensors in either order, and as the view that these are. */
static void there_and_back(void **state) {
    (void)state;
    static const char *const orders[] = {"BTHD", "BHTD", "DTHB"};
    const attn_tensor view = attn_tensor_bthd(data, ATTN_F16, 2, 3, 4, 5);
    for (size_t i = 0; i < COUNT(orders); i++) {
        packed p = {0};
        assert_ok(context, attn_tensor_to_dlpack(context, orders[i], &view, p.shape, p.strides, &p.tensor));
        assert_int_equal(p.tensor.ndim, 4);
        assert_int_equal(p.tensor.device.device_type, kDLCPU);
        assert_ptr_equal(p.tensor.shape, p.shape);
        assert_ptr_equal(p.tensor.strides, p.strides);
        const attn_tensor again = view_of(orders[i], &p);
        assert_memory_equal(again.size, view.size, sizeof view.size);
        assert_memory_equal(again.stride, view.stride, sizeof view.stride);
        assert_ptr_equal(again.data, data);
        assert_int_equal(again.dtype, ATTN_F16);
    }
    packed p = {0};
    assert_ok(context, attn_tensor_to_dlpack(context, "BTHD", &view, p.shape, p.strides, &p.tensor));
    assert_memory_equal(p.shape, ((const int64_t[]){2, 3, 4, 5}), 4 * sizeof(int64_t));
    assert_memory_equal(p.strides, ((const int64_t[]){60, 20, 5, 1}), 4 * sizeof(int64_t));
}

/* ---- wrong calls ---- */

typedef struct call {
    attn_context *context;
    const char *axes;
    packed packed;
    const DLTensor *source;
    attn_tensor view;
    attn_tensor *tensor;
    /* The way back. */
    const attn_tensor *from;
    int64_t *shape, *strides;
    DLTensor *to;
} call;

#define FROM_FAULTS(X)                                                                                                 \
    X(from_axes_null, ATTN_ERROR_NULL, "axes", c->axes = NULL)                                                         \
    X(from_axis_unknown, ATTN_ERROR_VALUE, "axes", c->axes = "BHTX")                                                   \
    X(from_axis_small, ATTN_ERROR_VALUE, "axes", c->axes = "BHTd")                                                     \
    X(from_axis_twice, ATTN_ERROR_VALUE, "axes", c->axes = "BHTH")                                                     \
    X(from_axis_by_two_names, ATTN_ERROR_VALUE, "axes", c->axes = "BHTDM")                                             \
    X(from_source_null, ATTN_ERROR_NULL, "source", c->source = NULL)                                                   \
    X(from_tensor_null, ATTN_ERROR_NULL, "tensor", c->tensor = NULL)                                                   \
    X(from_device, ATTN_ERROR_VALUE, "device_type", c->packed.tensor.device.device_type = (DLDeviceType)2)             \
    X(from_ndim_less, ATTN_ERROR_SHAPE, "ndim", c->packed.tensor.ndim = 3)                                             \
    X(from_ndim_more, ATTN_ERROR_SHAPE, "ndim", c->packed.tensor.ndim = 5)                                             \
    X(from_ndim_negative, ATTN_ERROR_SHAPE, "ndim", c->packed.tensor.ndim = -1)                                        \
    X(from_shape_null, ATTN_ERROR_NULL, "shape", c->packed.tensor.shape = NULL)                                        \
    X(from_code, ATTN_ERROR_DTYPE, "dtype", c->packed.tensor.dtype.code = kDLInt)                                      \
    X(from_bits, ATTN_ERROR_DTYPE, "dtype", c->packed.tensor.dtype.bits = 64)                                          \
    X(from_no_lane, ATTN_ERROR_DTYPE, "lanes", c->packed.tensor.dtype.lanes = 0)                                       \
    X(from_lanes, ATTN_ERROR_DTYPE, "lanes", c->packed.tensor.dtype.lanes = 4)                                         \
    X(from_negative_size, ATTN_ERROR_SHAPE, "shape", c->packed.shape[2] = -1)                                          \
    X(from_huge, ATTN_ERROR_OVERFLOW, "shape", c->packed.shape[1] = c->packed.shape[2] = INT64_MAX / 2)                \
    X(from_data, ATTN_ERROR_NULL, "data", c->packed.tensor.data = NULL)                                                \
    X(from_offset, ATTN_ERROR_VALUE, "byte_offset", c->packed.tensor.byte_offset = 2)                                  \
    X(from_offset_huge, ATTN_ERROR_OVERFLOW, "byte_offset", c->packed.tensor.byte_offset = UINT64_MAX - 3)

#define TO_FAULTS(X)                                                                                                   \
    X(to_axes_null, ATTN_ERROR_NULL, "axes", c->axes = NULL)                                                           \
    X(to_axis_unknown, ATTN_ERROR_VALUE, "axes", c->axes = "QHTD")                                                     \
    X(to_source_null, ATTN_ERROR_NULL, "source", c->from = NULL)                                                       \
    X(to_shape_null, ATTN_ERROR_NULL, "shape", c->shape = NULL)                                                        \
    X(to_strides_null, ATTN_ERROR_NULL, "strides", c->strides = NULL)                                                  \
    X(to_tensor_null, ATTN_ERROR_NULL, "tensor", c->to = NULL)                                                         \
    X(to_int8, ATTN_ERROR_DTYPE, "dtype", c->view.dtype = ATTN_INT8)                                                   \
    X(to_heads_unnamed, ATTN_ERROR_SHAPE, "size", c->axes = "BTM")                                                     \
    X(to_nothing_unnamed, ATTN_ERROR_SHAPE, "size", c->axes = "BTM"; c->view.size[1] = 0)                              \
    X(to_huge, ATTN_ERROR_OVERFLOW, "size", c->view.size[3] = SIZE_MAX)

DEFINE_FAULTS(from_faults, FROM_FAULTS);
DEFINE_FAULTS(to_faults, TO_FAULTS);

static void make_valid(call *c) {
    *c = (call){.context = context, .axes = "BHTD", .view = attn_tensor_bhtd(data, ATTN_F32, 2, 3, 4, 5)};
    pack(&c->packed, c->axes, (const int64_t[]){2, 3, 4, 5}, NULL);
    c->source = &c->packed.tensor;
    c->tensor = &c->view;
    c->from = &c->view;
    c->shape = c->packed.shape;
    c->strides = c->packed.strides;
    c->to = &c->packed.tensor;
}

static attn_status run_from(const call *c) {
    return attn_tensor_from_dlpack(c->context, c->axes, c->source, c->tensor);
}
static attn_status run_to(const call *c) {
    return attn_tensor_to_dlpack(c->context, c->axes, c->from, c->shape, c->strides, c->to);
}

static void assert_same_view(attn_tensor a, attn_tensor b) {
    assert_ptr_equal(a.data, b.data);
    assert_int_equal(a.dtype, b.dtype);
    assert_memory_equal(a.size, b.size, sizeof a.size);
    assert_memory_equal(a.stride, b.stride, sizeof a.stride);
}

static void check_fault(const char *name, void (*spoil)(call *c), attn_status status, const char *field,
                        attn_status (*run)(const call *c)) {
    call c;
    name_case("%s", name);
    make_valid(&c);
    assert_ok(context, run(&c));
    make_valid(&c);
    spoil(&c);
    const call before = c;
    assert_status(context, run(&c), status);
    assert_mentions(attn_context_last_error(context), field);
    assert_memory_equal(&c.packed, &before.packed, sizeof c.packed);
    assert_same_view(c.view, before.view);
    c.context = NULL;
    assert_status(NULL, run(&c), ATTN_ERROR_NULL);
    assert_mentions(attn_context_last_error(NULL), "context");
}

static void every_fault(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(from_faults); i++)
        check_fault(from_faults[i].name, from_faults[i].spoil, from_faults[i].status, from_faults[i].field, run_from);
    for (size_t i = 0; i < COUNT(to_faults); i++)
        check_fault(to_faults[i].name, to_faults[i].spoil, to_faults[i].status, to_faults[i].field, run_to);
}

#define DLPACK_TEST(function) cmocka_unit_test_setup_teardown(function, make_context, end_test)

int main(void) {
    const struct CMUnitTest tests[] = {DLPACK_TEST(axes_become_dimensions), DLPACK_TEST(strides_and_offsets_stay),
                                       DLPACK_TEST(nothing_needs_no_data),  DLPACK_TEST(types_of_both),
                                       DLPACK_TEST(there_and_back),         DLPACK_TEST(every_fault)};
    return cmocka_run_group_tests_name("dlpack", tests, NULL, NULL);
}
