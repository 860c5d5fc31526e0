"""Reads bytes eight at a time; and the options for compiling functions that only read arrays."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

# For functions that make no arrays and take no slices: without numba's runtime, nobody counts references at every call and
# every look into an array, which took two thirds of the tokeniser's time.
njit_bare: Any = partial(njit, cache=True, _nrt=False)


def _eight(typing_context, array, index):
    """array[index : index + 8] as one little-endian uint64."""
    signature = types.uint64(array, index)

    def generate(context, builder, signature, arguments):
        values = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.bitcast(builder.gep(values.data, [arguments[1]]), ir.IntType(64).as_pointer())
        word = builder.load(place)
        word.align = 1
        return word

    return signature, generate


def _prefetch(typing_context, array, index):
    """Ask for array[index] ahead of its use, so that nobody waits for it."""
    signature = types.void(array, index)

    def generate(context, builder, signature, arguments):
        values = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.bitcast(builder.gep(values.data, [arguments[1]]), ir.IntType(8).as_pointer())
        word = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [place.type, word, word, word])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0"), [place, word(0), word(3), word(1)])
        return context.get_dummy_value()

    return signature, generate


eight: Any = intrinsic(_eight)  # both are called with two arguments: the typing context is numba's
prefetch: Any = intrinsic(_prefetch)


@njit_bare(inline="always")
def word_at(data, i, length):
    """Up to 8 bytes from i on as a number."""
    if i + 8 <= data.shape[0]:
        word = eight(data, i)
        return word if length >= 8 else word & ((np.uint64(1) << np.uint64(8 * length)) - np.uint64(1))
    word = np.uint64(0)
    for k in range(min(length, 8)):
        word |= np.uint64(data[i + k]) << np.uint64(8 * k)
    return word
