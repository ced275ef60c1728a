"""Mergeable metrics: sums and counts first, ratios last."""

from jaxfer.metrics.classification import (
    BINS,
    CONFUSION_CLASSES,
    Classification,
    calibration,
    classification,
    compute,
    merge,
    per_class,
    zeros,
)
from jaxfer.metrics.kernel_distance import (
    KernelDistance,
    kernel_distance,
    polynomial_kernel,
)

__all__ = [
    "BINS",
    "CONFUSION_CLASSES",
    "Classification",
    "KernelDistance",
    "calibration",
    "classification",
    "compute",
    "kernel_distance",
    "merge",
    "per_class",
    "polynomial_kernel",
    "zeros",
]
