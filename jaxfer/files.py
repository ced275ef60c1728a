"""Files that are written whole or not at all, and what those of a run hold."""

import csv
import io
import json
import os
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxfer.errors import JaxferError

if TYPE_CHECKING:
    import numpy as np


Form = type | dict[str, Any] | list[Any]
"""What JSON should be: a type; an object with at least these entries; or a list of any
length of what the only element says."""


class Record(NamedTuple):
    """A JSON file of a run folder.

    Attributes:
      form: what its readers rely on.
      advice: how to get it again where it is damaged.
    """

    form: Form
    advice: str


_AGAIN = "delete it and run the training command again, which"
_MEASURED = "delete it and run the `jaxfer evaluate` again that measured it"
_REPORTED = "delete it and run `jaxfer evaluate` on the run, which makes it anew"

RECORDS = {
    "config.json": Record(
        {"method": {"name": str}, "data": {"name": str}},
        f"restore it; or {_AGAIN} writes its own config without comparing them",
    ),
    "run.json": Record(
        {
            "dataset": str,
            "class_names": [str],
            "method": str,
            "stages": [str],
            "runs": [{"seed": int, "fold": int, "dir": str}],
        },
        f"{_AGAIN} writes it anew and trains nothing twice",
    ),
    "data.json": Record(
        {"fingerprint": str, "near_duplicates": [dict]},
        f"{_AGAIN} makes it anew; the data must be prepared as it was",
    ),
    "plan.json": Record(
        {"resident": bool, "together": bool},
        f"restore it; or {_AGAIN} decides by the memory that there is now",
    ),
    "finished.json": Record(
        {"seconds": dict}, f"{_AGAIN} ends this run from its last checkpoint"
    ),
    "results.json": Record({"selections": dict}, _REPORTED),
    "robustness.json": Record({}, _MEASURED),
    "beside.json": Record({"names": [str], "label_noise": [dict]}, _MEASURED),
    "suspect_labels.json": Record({"top": [dict], "rates": [dict]}, _MEASURED),
    "explanations.json": Record({"selection": str, "pictures_of": dict}, _REPORTED),
    "synthesis.json": Record(
        {"selection": str, "pictures_of": dict, "recognisers": dict}, _MEASURED
    ),
}
"""The JSON files of a run folder, by name."""


def read_record(path: Path, error: type[JaxferError]) -> dict[str, Any]:
    """The content of one of the `RECORDS`, which its name tells; see `read_json`."""
    record = RECORDS[path.name]
    return read_json(path, error=error, form=record.form, advice=record.advice)


def read_json(
    path: Path, *, error: type[JaxferError], form: Form = dict, advice: str
) -> Any:
    """The content of a JSON file, checked as far as its readers rely on it.

    Args:
      path: of the file.
      error: what to raise where it is damaged.
      form: what must be in it.
      advice: what the user is to do where it is not.

    Raises:
      JaxferError: of the kind `error`, where the file does not hold such JSON.
      FileNotFoundError: there is no such file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = _unlike(content, form)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as failure:  # ValueError: UTF-8's too
        raise damaged(path, error, "JSON", str(failure), advice) from failure
    if found:
        raise damaged(path, error, "JSON that jaxfer wrote", found, advice)
    return content


def read_arrays(
    path: Path, error: type[JaxferError], *, needed: Collection[str], advice: str
) -> "dict[str, np.ndarray]":
    """The arrays of a .npz file by name.

    Args:
      path: of the file.
      error: what to raise where it is damaged.
      needed: names of arrays that must be in it.
      advice: what the user is to do where it is damaged.

    Raises:
      JaxferError: of the kind `error`, where it is no such file.
    """
    import numpy as np

    try:
        with path.open("rb") as opened, np.load(opened) as file:
            arrays = {name: file[name] for name in file.files}
    except (
        *(OSError, EOFError, ValueError, KeyError, NotImplementedError),
        *(zipfile.BadZipFile, zlib.error),
        *(AttributeError, TypeError),  # a lone array, which is no archive
    ) as failure:
        found = str(failure) or type(failure).__name__
        raise damaged(path, error, "arrays", found, advice) from failure
    missing = [name for name in needed if name not in arrays]
    if missing:
        found = f"no {', '.join(missing)} among {', '.join(arrays) or 'none'}"
        raise damaged(path, error, "arrays", found, advice)
    return arrays


def read_rows(
    path: Path, error: type[JaxferError], *, columns: Collection[str], advice: str
) -> list[dict[str, str]]:
    """The rows of a CSV file, each a value by column.

    Args:
      path: of the file.
      error: what to raise where it is damaged.
      columns: that must be in it.
      advice: what the user is to do where it is damaged.

    Raises:
      JaxferError: of the kind `error`, where it is not text, lacks a column, or has a
        row that is not ended or of another length than the header.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            text = file.read()
        reader = csv.DictReader(io.StringIO(text, newline=""))
        names, rows = list(reader.fieldnames or ()), list(reader)
    except (OSError, ValueError, csv.Error) as failure:
        raise damaged(path, error, "a table", str(failure), advice) from failure
    missing = [name for name in columns if name not in names]
    ragged = [row for row in rows if None in row or None in row.values()]
    if missing:
        found = f"no {', '.join(missing)} among {', '.join(names) or 'none'}"
        raise damaged(path, error, "columns", found, advice)
    if ragged or not text.endswith("\n"):
        found = str(ragged[0]) if ragged else f"an end after {text[-40:]!r}"
        raise damaged(path, error, "rows as long as the header", found, advice)
    return rows


def damaged(
    path: Path, error: type[JaxferError], expected: str, found: str, advice: str
) -> JaxferError:
    """The error, of the kind `error`, that names a damaged file and what to do."""
    return error(
        f"{path} is damaged and cannot be read: expected {expected}, found {found};"
        f" {advice}"
    )


def write_atomically(path: Path, content: str | bytes) -> Path:
    """Write a file so that a reader sees the old one or the new one, whole.

    Args:
      path: of the file, in a folder that exists.
      content: bytes, or text that is written as UTF-8.

    Returns:
      The path.

    Raises:
      OSError: it cannot be written; the old one is still there.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())  # or a power cut may leave an empty file
        return temporary.replace(path)
    except OSError:
        if temporary.is_file():
            temporary.unlink()  # on a full disk, it takes room for nothing
        raise


def _unlike(value: Any, form: Form, name: str = "") -> str:
    """What is found in place of a form, in words; empty where a value is like it."""
    if isinstance(form, dict):
        if unlike := _unlike(value, dict, name):
            return unlike
        for key, inner in form.items():
            whole = f"{name}.{key}" if name else key
            if key not in value:
                return f"no {whole!r} in it"
            if unlike := _unlike(value[key], inner, whole):
                return unlike
        return ""
    if isinstance(form, list):
        if unlike := _unlike(value, list, name):
            return unlike
        each = (_unlike(v, form[0], f"{name}[{i}]") for i, v in enumerate(value))
        return next(filter(None, each), "")
    if isinstance(value, form):
        return ""
    shown = json.dumps(value)
    shown = shown if len(shown) <= 40 else f"{shown[:40]}..."
    kind = {dict: "an object", list: "a list", str: "a text", int: "a whole number"}
    return f"{name or 'it'} to be {shown}, not {kind.get(form, 'true or false')}"
