"""Errors that a user can act on; the command line prints them without a traceback."""

from collections.abc import Sequence


def first_of(entries: Sequence[str], shown: int = 5) -> str:
    """The first entries of a list that may be long, and how many more there are."""
    more = f"; and {len(entries) - shown:,} more" if len(entries) > shown else ""
    return "; ".join(entries[:shown]) + more


class JaxferError(Exception):
    """Base of all errors that say what was expected, found, and what to do."""


class ConfigError(JaxferError):
    """A config, a field of it or an override is wrong."""


class DataError(JaxferError):
    """Source files, a prepared data set or a split is wrong or missing."""


class CheckpointError(JaxferError):
    """A checkpoint is missing, damaged or belongs to another config."""


class WeightsError(JaxferError):
    """A file of official weights does not fit the model it is meant for."""
