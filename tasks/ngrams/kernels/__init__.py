"""Compiled kernels of counting: NumPy in, NumPy out."""
