"""Mergeable metrics: sums and counts first, ratios last."""

from jaxfer.metrics.classification import (
    BINS,
    Classification,
    calibration,
    classification,
    compute,
    merge,
    per_class,
    zeros,
)

__all__ = [
    "BINS",
    "Classification",
    "calibration",
    "classification",
    "compute",
    "merge",
    "per_class",
    "zeros",
]
