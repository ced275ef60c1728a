"""From the owner's folder or zip to shards on disk: `jaxfer prepare`."""

import argparse
import contextlib
import errno
import inspect
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxfer.data.builders import BUILDERS, find
from jaxfer.data.replace import locked, put_back, replace
from jaxfer.data.write import build, write_skips, write_table
from jaxfer.errors import FULL, ConfigError, DataError, JaxferError, system_errors

if TYPE_CHECKING:  # the command line imports this file for its help alone
    from jaxfer.data.builders.plan import Plan
    from jaxfer.data.report import PrepareReport

_SPARE = 50_000_000
"""Bytes that should stay free on the disk."""

_OPTIONS = {
    "frames": (int, "ckplus, mmi, oulu_casia: peak frames of a sequence"),
    "classes": (int, "affectnet: 8, or 7 without contempt (default 8)"),
    "camera": (str, "oulu_casia: VL or NI (default VL)"),
    "light": (str, "oulu_casia: Strong, Weak or Dark (default Strong)"),
    "neutral": (bool, "ckplus: add the first frames as class neutral"),
    "verbatim": (bool, "image_folder: keep folders' names, e.g. of people called Joy"),
    "subjects": (int, "drawn faces: how many people (default 24 or 48)"),
    "takes": (int, "drawn faces: pictures per expression (default 4 or 2)"),
    "size": (int, "drawn faces: pixels on each side (default 64)"),
    "seed": (int, "drawn faces: seed (default 0)"),
}


def data_folder(data_dir: str | os.PathLike[str] | None = None) -> Path:
    """Returns where data is prepared: the argument, JAXFER_DATA_DIR or ~/.cache."""
    chosen = data_dir or os.environ.get("JAXFER_DATA_DIR") or "~/.cache/jaxfer/data"
    return Path(chosen).expanduser()


def prepare(
    name: str,
    source: str | os.PathLike[str] | None = None,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    save_as: str | None = None,
    overwrite: bool = False,
    workers: int | None = None,
    progress: bool = True,
    beam: str | None = None,
    **options: Any,
) -> "PrepareReport":
    """Prepares a data set once, so that `jaxfer.data.load` finds it.

    Images are stored as they are shipped, in ArrayRecord shards written by a
    TFDS builder, with a table of their names, labels, subjects and hashes.
    Everything is written beside the target and renamed at the end: a failure
    or a kill leaves nothing that looks prepared, and what was prepared before is
    there until it is replaced; see `jaxfer.data.replace`.

    Args:
      name: the data set, one of `jaxfer.data.builders.BUILDERS`.
      source: the owner's folder or a zip of it; None for drawn faces.
      data_dir: see `data_folder`.
      save_as: the name to load it by; by default `name`.
      overwrite: replaces what is prepared under that name.
      workers: threads that read images; by default one per CPU.
      progress: shows a progress bar.
      beam: where given, Apache Beam reads and writes the images, with these
        pipeline options, e.g. "--runner=DirectRunner"; docs/affectnet_on_a_cluster.md
        says what that needs.
      **options: of the data set, e.g. frames=3 for ckplus.

    Returns:
      What was found, beside the published counts, and what was skipped.

    Raises:
      DataError: a wrong source, one class alone, data already there, a full disk.
      ConfigError: an option that the data set does not have, workers below 1, or
        beam without Apache Beam.
    """
    from jaxfer.data.builders.source import open_source
    from jaxfer.data.labels import check_classes
    from jaxfer.data.report import PrepareReport, count

    started = time.perf_counter()
    builder_class = find(name)
    _check_options(name, builder_class, options)
    if workers is not None and workers < 1:
        raise ConfigError(f"workers must be at least 1, found {workers}.")
    save_as = save_as or name
    if not save_as.isidentifier():
        raise ConfigError(
            f"A data set's name is made of letters, digits and _; found {save_as!r}."
        )
    target = data_folder(data_dir) / save_as
    if builder_class.needs_source and source is None:
        raise DataError(
            f"{name} needs a source: jaxfer prepare {name} --source DIR\n"
            f"Expected in DIR: {_flat(builder_class.layout)}\n"
            f"Where to get it: {_flat(builder_class.where)}"
        )
    put_back(target)
    _refuse_existing(target, overwrite)
    opened = open_source(source) if source is not None else None
    if beam is not None:
        from jaxfer.data.beam import check_beam

        check_beam(opened)
    plan = builder_class.scan(opened, **options)
    check_classes(str(source), plan.class_names, (e.label for e in plan.examples))
    with _disk_errors(target, plan), locked(target) as temporary:
        _refuse_existing(target, overwrite)
        _check_space(target.parent, plan)
        folder, rows, skips = build(
            builder_class,
            plan,
            temporary,
            workers or os.cpu_count() or 1,
            progress,
            beam,
        )
        check_classes(str(source), plan.class_names, (row.label for row in rows))
        skips = plan.skips + skips
        write_table(folder / "table.npz", rows)
        write_skips(folder / "skipped.csv", skips)
        facts = {
            "builder": name,
            "class_names": list(plan.class_names),
            "images": len(rows),
            "layout": plan.layout,
            "options": options,
            "source": str(source) if source is not None else None,
            "shards": {
                f.name: f.stat().st_size for f in sorted(folder.glob("*.array_record*"))
            },
        }
        (folder / "prepared.json").write_text(json.dumps(facts, indent=2) + "\n")
        size = sum(f.stat().st_size for f in folder.iterdir())
        replace(folder, target)
    seconds = time.perf_counter() - started
    return PrepareReport(
        name=save_as,
        path=target,
        layout=plan.layout,
        class_names=plan.class_names,
        counts=count(rows, plan.class_names),
        subjects=len({row.subject for row in rows} - {""}),
        published=plan.published,
        skips=tuple(skips),
        bytes=size,
        seconds=seconds,
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `jaxfer prepare`."""
    parser.add_argument("name", choices=sorted(BUILDERS), help="the data set")
    parser.add_argument("--source", help="the owner's folder, or a zip of it")
    parser.add_argument(
        "--data-dir", help="where to write (JAXFER_DATA_DIR or ~/.cache/jaxfer/data)"
    )
    parser.add_argument("--save-as", help="the name to load it by, if not its own")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace what is there"
    )
    parser.add_argument("--workers", type=int, help="threads (default: one per CPU)")
    parser.add_argument(
        "--beam",
        metavar="OPTIONS",
        help="read and write with Apache Beam, e.g. --beam=--runner=DirectRunner",
    )
    for option, (kind, text) in _OPTIONS.items():
        if kind is bool:
            parser.add_argument(
                f"--{option}", action="store_true", default=None, help=text
            )
        else:
            parser.add_argument(f"--{option}", type=kind, help=text)


def main(args: argparse.Namespace) -> int:
    """Runs `jaxfer prepare` and prints its report."""
    options = {name: getattr(args, name) for name in _OPTIONS}
    report = prepare(
        args.name,
        args.source,
        data_dir=args.data_dir,
        save_as=args.save_as,
        overwrite=args.overwrite,
        workers=args.workers,
        beam=args.beam,
        **{name: value for name, value in options.items() if value is not None},
    )
    print(report)
    return 0


def _check_options(name: str, builder_class: Any, options: dict[str, Any]) -> None:
    known = list(inspect.signature(builder_class.scan).parameters)[1:]
    for option in options:
        if option not in known:
            takes = ", ".join(known) if known else "none"
            raise ConfigError(f"{name} has no option {option!r}; it takes: {takes}.")


def _refuse_existing(target: Path, overwrite: bool) -> None:
    if target.exists() and not overwrite:
        raise DataError(
            f"{target} is already prepared. To replace it, add --overwrite "
            "(overwrite=True); to keep both, add --save-as NAME."
        )


@contextlib.contextmanager
def _disk_errors(target: Path, plan: "Plan") -> Iterator[None]:
    before = target.exists()
    try:
        yield
    except JaxferError:
        raise
    except Exception as error:
        found = system_errors(error)
        if found & FULL:
            what = "The disk is full"
            if errno.EDQUOT in found:
                what = "Your disk quota is used up"
            elif errno.EFBIG in found:
                what = "A file became larger than the file system or ulimit -f allows"
            old = f"; what was there before, {target}, is unchanged" if before else ""
            raise DataError(
                f"{what}, writing in {target.parent}. Nothing was prepared{old}. About "
                f"{_needed(plan) / 1e6:,.0f} MB are needed there: free some space or "
                "choose another folder with --data-dir."
            ) from error
        refused = found & {errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EPERM}
        if refused:
            raise DataError(
                f"Cannot write to {target.parent}: {os.strerror(min(refused))}. Choose "
                "another folder with --data-dir."
            ) from error
        raise


def _needed(plan: "Plan") -> int:
    # TFDS sorts a split through a file of its own before it writes the shards.
    return 2 * plan.bytes + _SPARE


def _check_space(folder: Path, plan: "Plan") -> None:
    free, needed = shutil.disk_usage(folder).free, _needed(plan)
    if free < needed:
        raise DataError(
            f"{folder} has {free / 1e6:,.0f} MB free; about {needed / 1e6:,.0f} MB "
            "are needed. Free some space or choose another folder with --data-dir."
        )


def _flat(text: str) -> str:
    return " ".join(text.split())
