"""The steps of a study, in groups by what they are about."""

from tasks.storage.kernel_cache import keep_kernels_apart

keep_kernels_apart()  # here, because every way to a kernel leads through this package
