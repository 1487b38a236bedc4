/* SPDX-License-Identifier: BSD-3-Clause */
/* Tensors of DLPack, which NumPy, PyTorch, JAX and others hand out: as views, and views as such tensors. Only the
 * descriptions are translated: no element is read or copied, and nothing is owned. Whoever owns a DLManagedTensor calls
 * its deleter, after the last use of the view.
 *
 * Not a part of attn.h. The structs below are those of all versions of DLPack, as far as they are needed here. A
 * program that has the standard's own dlpack.h includes that first. */
#ifndef ATTN_DLPACK_H
#define ATTN_DLPACK_H

#include <stdint.h>

#include "context.h"
#include "export.h"
#include "status.h"
#include "tensor.h"

#ifndef DLPACK_DLPACK_H_

#ifdef __cplusplus
typedef enum DLDeviceType : int32_t { kDLCPU = 1 } DLDeviceType; /* among others */
#else
typedef enum DLDeviceType { kDLCPU = 1 } DLDeviceType;
#endif

typedef enum DLDataTypeCode {
    kDLInt = 0,
    kDLUInt = 1,
    kDLFloat = 2,
    kDLOpaqueHandle = 3,
    kDLBfloat = 4,
    kDLComplex = 5,
    kDLBool = 6
} DLDataTypeCode;

typedef struct DLDevice {
    DLDeviceType device_type;
    int32_t device_id;
} DLDevice;

typedef struct DLDataType {
    uint8_t code; /* a DLDataTypeCode */
    uint8_t bits;
    uint16_t lanes; /* numbers in an element */
} DLDataType;

typedef struct DLTensor {
    void *data;
    DLDevice device;
    int32_t ndim;
    DLDataType dtype;
    int64_t *shape;   /* [ndim] */
    int64_t *strides; /* [ndim], in elements; NULL: dense, in the order of the axes */
    uint64_t byte_offset;
} DLTensor;

#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Makes a view of a tensor of DLPack.
 *   axes    what the axes of `source` are, the outermost first: letters of tensor.h, each dimension of a view once at
 *           most, which are B, H (or G), T and D (or E, M). "BHTD" and "BTHD" are the two layouts of heads, "BTM" is
 *           [B,1,T,M], "TBM" PyTorch's layer without batch_first, "THD" a ragged batch [1,H,T,D]. Dimensions that are
 *           not named have the size 1
 *   source  on the CPU (kDLCPU), of float 32 or 16, bfloat 16, or bool 8, which unsigned 8 stands for too, one lane
 *   tensor  output. Its data is that of `source` with byte_offset added
 * Of the strides only functions that take the view say which they allow.
 * Errors: NULL, VALUE (axes; the device; data + byte_offset off the type's alignment), DTYPE, SHAPE (ndim is not the
 * number of axes, a negative size), OVERFLOW (dense strides; a byte_offset that leads beyond all memory); nothing is
 * written then. */
ATTN_API attn_status attn_tensor_from_dlpack(attn_context *context, const char *axes, const DLTensor *source,
                                             attn_tensor *tensor);

/* Describes a view as a tensor of DLPack: the way back. Consumers that insist on data aligned to 64 or 256 bytes find
 * it so where the view's is.
 *   axes     as above, in the order that `tensor` is to have them. Dimensions that are not named must have the size 1
 *   source   of f32, f16, bf16 or bool
 *   shape    output, a number for each letter of `axes`, the caller's, as is
 *   strides  likewise: tensor->shape and tensor->strides point to them
 *   tensor   output, with byte_offset 0
 * Errors: NULL, VALUE (axes), DTYPE, SHAPE, OVERFLOW (a size beyond int64_t); nothing is written then. */
ATTN_API attn_status attn_tensor_to_dlpack(attn_context *context, const char *axes, const attn_tensor *source,
                                           int64_t *shape, int64_t *strides, DLTensor *tensor);

#ifdef __cplusplus
}
#endif

#endif
