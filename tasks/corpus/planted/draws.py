"""Random choices that depend only on a seed, a purpose and a position, so that document 900,000,000 can be generated
without the ones before it. The mixing function is the finaliser of splitmix64 (Steele, Lea, Flood 2014).
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Words64 = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: Words64) -> Words64:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _start(seed: int, purpose: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:8], "big")


def generator(seed: int, purpose: str) -> np.random.Generator:
    return np.random.default_rng(_start(seed, purpose))


def draw(seed: int, purpose: str, *coordinates: Ints | int) -> Words64:
    """64 random bits per position; `coordinates` are arrays or numbers, broadcast together."""
    state = np.atleast_1d(np.array(_start(seed, purpose), dtype=np.uint64))
    for coordinate in coordinates:
        state = _mix(state + (np.atleast_1d(coordinate).astype(np.uint64) + np.uint64(1)) * _GOLDEN)
    return _mix(state + _GOLDEN)


def below(bits: Words64, n: int) -> Ints:
    """Integers in [0, n), for n < 2**32; the deviation from uniform is less than n / 2**32."""
    return (((bits >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32)).astype(np.int64)


def skewed(bits: Words64, n: int, exponent: float = 0.7) -> Ints:
    """Integers in [0, n) with probability proportional to 1 / (k + 2)**exponent: a Zipf law with a flat top."""
    weight = 1.0 / (np.arange(n) + 2.0) ** exponent
    upto = np.cumsum(weight / weight.sum())
    uniform = (bits >> np.uint64(11)).astype(np.float64) / 2.0**53
    return np.minimum(np.searchsorted(upto, uniform, side="right"), n - 1)


def shuffled(position: Ints, n: int, seed: int, purpose: str, inverse: bool = False) -> Ints:
    """The images of these positions under a seeded permutation of [0, n), or its inverse, in memory that does not grow with n. A
    Feistel network permutes the next power of four; images outside [0, n) are permuted again until they are inside."""
    half = np.uint64(max(1, ((n - 1).bit_length() + 1) // 2))
    mask = np.uint64((1 << int(half)) - 1)
    out = np.array(position, dtype=np.uint64)
    todo = np.arange(len(out))
    while len(todo):
        value = out[todo]
        left, right = value >> half, value & mask
        if inverse:
            left, right = right, left
        for number in range(3, -1, -1) if inverse else range(4):
            left, right = right, left ^ (draw(seed, f"{purpose}/round {number}", right.astype(np.int64)) & mask)
        if inverse:
            left, right = right, left
        out[todo] = (left << half) | right
        todo = todo[out[todo] >= n]
    return out.astype(np.int64)
