"""Writing what a builder found: shards, the table, and what was skipped."""

import contextlib
import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command line imports this file for its help alone
    from jaxfer.data.builders.plan import Plan, Skip
    from jaxfer.data.records import Row


def build(
    builder_class: Any,
    plan: "Plan",
    temporary: Path,
    workers: int,
    progress: bool,
    beam: str | None,
) -> tuple[Path, list["Row"], list["Skip"]]:
    """Has a builder write its shards.

    Args:
      builder_class: of the data set.
      plan: what its `scan` found.
      temporary: an empty folder to work in.
      workers: threads that read images.
      progress: shows a progress bar.
      beam: options of an Apache Beam pipeline that does the work, or None.

    Returns:
      The folder of the shards, a row for each image, and what was skipped.
    """
    import tensorflow_datasets as tfds
    from tqdm import tqdm

    total, how = len(plan.examples), {}
    notes = "" if beam is None else str(temporary.absolute() / "notes")
    if beam is not None:
        from jaxfer.data.beam import download_config, read_notes

        how["download_config"] = download_config(beam)
        progress = False  # the images are counted elsewhere
    with tqdm(total=total, unit=" images", disable=not progress) as bar:
        builder = builder_class(
            plan, data_dir=temporary, workers=workers, advance=bar.update, notes=notes
        )
        tfds.disable_progress_bar()
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                builder.download_and_prepare(**how)
        finally:
            tfds.enable_progress_bar()
    if beam is not None:
        return Path(builder.data_path), *read_notes(notes)
    return Path(builder.data_path), builder.rows, builder.skips


def write_table(path: Path, rows: list["Row"]) -> None:
    """Writes the table that `jaxfer.data.load` reads."""
    import numpy as np

    columns: dict[str, np.ndarray] = {
        name: np.asarray([getattr(row, name) for row in rows])
        for name in ("split", "subject", "sequence", "sha256")
    }
    columns["name"] = np.asarray([row.file for row in rows])
    columns["label"] = np.asarray([row.label for row in rows], np.int32)
    for name in ("votes", "affect"):
        columns[name] = np.asarray([getattr(row, name) for row in rows], np.float32)
    np.savez_compressed(path, **columns)  # type: ignore[arg-type]


def write_skips(path: Path, skips: list["Skip"]) -> None:
    """Writes what was left out, and why, as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "reason"))
        writer.writerows((skip.file, skip.reason) for skip in skips)
