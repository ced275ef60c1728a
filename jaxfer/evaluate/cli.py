"""`jaxfer evaluate RUN`: summary and report again, or the cost of corruptions."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxfer.errors import ConfigError

if TYPE_CHECKING:
    from jaxfer.evaluate.robustness import Corruption

_SELECTIONS = {"validation": "best_by_validation", "last": "last"}
_PLACES = {"test": "test alone", "train_and_test": "training and test"}
_COLUMNS = {
    "accuracy": "accuracy %",
    "balanced_accuracy": "balanced %",
    "macro_f1": "macro-F1 %",
    "ece": "ECE %",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `main` reads."""
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument(
        "--corruption",
        metavar="NAME",
        help="gaussian_blur or gaussian_noise, put on the test images",
    )
    parser.add_argument(
        "--kernel", type=int, metavar="K", help="kernel of the blur, odd (15)"
    )
    parser.add_argument(
        "--sweep", metavar="K,K,...", help="blur with each of these kernels: a curve"
    )
    parser.add_argument(
        "--variance", type=float, metavar="V", help="of the noise, on [0, 1] (0.01)"
    )
    parser.add_argument(
        "--train-too",
        action="store_true",
        help="corrupt the training images as well: trains the whole protocol again, "
        "in RUN/corrupted/",
    )
    parser.add_argument(
        "--selection",
        choices=sorted(_SELECTIONS),
        help="weights of the best epoch on validation images (default where there "
        "are any), or of the last",
    )


def _corruptions(args: argparse.Namespace) -> "list[Corruption]":
    """What the arguments ask for; empty where they ask for none."""
    from jaxfer.evaluate.robustness import Corruption, check

    name = args.corruption or ("gaussian_blur" if args.sweep else None)
    if name is None:
        asked = [
            option
            for option, value in (
                ("--kernel", args.kernel),
                ("--variance", args.variance),
                ("--train-too", args.train_too or None),
                ("--selection", args.selection),
            )
            if value is not None
        ]
        if asked:
            raise ConfigError(
                f"{', '.join(asked)} needs --corruption gaussian_blur or "
                "--corruption gaussian_noise."
            )
        return []
    blur = name == "gaussian_blur"
    wrong = ("--variance",) if blur else ("--kernel", "--sweep")
    given = [w for w in wrong if getattr(args, w[2:]) is not None]
    if given and name in ("gaussian_blur", "gaussian_noise"):
        other = "--kernel or --sweep" if blur else "--variance"
        raise ConfigError(f"{name} takes {other}, not {', '.join(given)}.")
    if args.sweep and args.kernel is not None:
        raise ConfigError("Give either --kernel or --sweep, not both.")
    if args.sweep:
        try:
            kernels = [int(word) for word in args.sweep.split(",")]
        except ValueError as error:
            raise ConfigError(
                f"--sweep takes kernel sizes such as 3,5,7, found {args.sweep!r}."
            ) from error
    else:
        kernels = [15 if args.kernel is None else args.kernel]
    variance = 0.01 if args.variance is None else args.variance
    return [check(Corruption(name, kernel, variance)) for kernel in kernels]


def _cell(spread: Mapping[str, Any] | None) -> str:
    if not spread or spread["mean"] is None:
        return "-"
    text = f"{100 * spread['mean']:.1f}"
    return text if spread["std"] is None else f"{text} ± {100 * spread['std']:.1f}"


def _table(first: str, rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Named results as aligned text, one a line."""
    cells = [[first, *_COLUMNS.values(), "runs"]]
    cells += [
        [name, *(_cell(row.get(c)) for c in _COLUMNS), str(row["accuracy"]["n"])]
        for name, row in rows.items()
    ]
    widths = [max(map(len, column)) for column in zip(*cells)]
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])]
        )
        for line in cells
    )


def results_table(results: Mapping[str, Any]) -> str:
    """The selections of results.json as text; ablation and robustness below."""
    from jaxfer.evaluate.facts import corruption_name

    selection = results["headline"]["selection"]
    blocks = [_table("test images", results["selections"])]
    if "ablation" in results:
        blocks.append(_table(f"{selection}, by output", results["ablation"][selection]))
    if "robustness" in results:
        corrupted = {
            f"{corruption_name(entry['corruption'])}, {_PLACES[entry['where']]}, "
            f"{entry['selection']}": entry
            for entry in results["robustness"].values()
        }
        blocks.append(_table("corrupted", corrupted))
    return "\n\n".join(blocks)


def main(args: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    if args.train_too:
        from jaxfer import cpu

        cpu.apply()  # first: it may start the process again
        cpu.use_compilation_cache()
    from jaxfer import evaluate
    from jaxfer.evaluate import run_folder

    folder = run_folder.load(args.run)
    corruptions = _corruptions(args)
    if corruptions:
        from jaxfer.evaluate import robustness
        from jaxfer.evaluate.facts import corruption_name

        def say(corruption: "Corruption", result: Mapping[str, Any]) -> None:
            name = corruption_name(corruption._asdict())
            print(f"{name}: accuracy {_cell(result['accuracy'])} %", flush=True)

        robustness.measure(
            folder.path,
            corruptions,
            selection=_SELECTIONS.get(args.selection),
            train_too=args.train_too,
            say=say,
        )
    print(evaluate.finish(folder.path))
    return 0
