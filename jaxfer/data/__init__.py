"""Data sets: preparing, loading, splitting and streaming them. Never imports JAX."""

from jaxfer.data.builders.plan import Skip
from jaxfer.data.dataset import Dataset, Table, load, read_images
from jaxfer.data.report import PrepareReport

__all__ = ["Dataset", "PrepareReport", "Skip", "Table", "load", "read_images"]
