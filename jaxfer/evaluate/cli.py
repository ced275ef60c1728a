"""`jaxfer evaluate RUN`: summary and report again, corruptions, suspect labels."""

import argparse
from collections.abc import Mapping, Sequence
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
        "are any), or of the last; for corruptions and suspect labels",
    )
    parser.add_argument(
        "--beside",
        type=Path,
        metavar="OTHER_RUN",
        help="compare over rates of label noise with another run, such as the baseline",
    )
    parser.add_argument(
        "--suspect-labels",
        action="store_true",
        help="rank the training images by how probably their label is wrong, into "
        "RUN/suspect_labels.csv",
    )
    parser.add_argument(
        "--top", type=int, metavar="N", help="suspects that the report shows (100)"
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
                ("--selection", None if args.suspect_labels else args.selection),
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
    return _aligned(cells)


def _aligned(cells: Sequence[Sequence[str]]) -> str:
    """Rows of cells as text, the first column to the left."""
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
    if "label_noise" in results:
        blocks += _noise_tables(results, selection)
    if "suspect_labels" in results:
        judged = [r for r in results["suspect_labels"]["rates"] if "score" in r]
        head = ["suspects", "wrong labels", "AUROC", "AUROC of the gap"]
        cells = [
            [
                f"{100 * row['rate']:.4g} %",
                str(row["wrong_labels"]),
                *(_number(row[name]["auroc"]) for name in ("score", "gap")),
            ]
            for row in judged
        ]
        blocks += [_aligned([head, *cells])] if cells else []
    if "explanations" in results:
        blocks += _explanation_tables(results["explanations"])
    return "\n\n".join(blocks)


def _explanation_tables(found: Mapping[str, Any]) -> list[str]:
    """What pattern maps and masks are worth."""
    from jaxfer.evaluate.explained import KINDS, PATTERN_ROWS

    def mean(entry: Mapping[str, Any] | None) -> str:
        return _number(entry["mean"] if entry else None)

    tables = []
    if "pattern_maps" in found:
        columns = {
            "ratio": "between : within",
            "ratio_across_identities": "by person",
        }
        head = ["pictures", *columns.values(), "nearest class mean, accuracy %"]
        cells = [
            [
                PATTERN_ROWS[kind].lower(),
                *(mean(row[name]) for name in columns),
                _cell(row["nearest_class_mean_accuracy"]),
            ]
            for kind, row in found["pattern_maps"].items()
        ]
        tables.append(_aligned([head, *cells]))
    if "masks" in found:
        ways = ("deletion", "insertion")
        head = [
            "area under the curve",
            *(f"{w}{s}" for w in ways for s in ("", ", shuffled")),
        ]
        cells = [
            [
                KINDS[kind],
                *(mean(row[w][a]) for w in ways for a in ("area", "random_area")),
            ]
            for kind, row in found["masks"]["kinds"].items()
        ]
        tables.append(_aligned([head, *cells]))
    return tables


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _noise_tables(results: Mapping[str, Any], selection: str) -> list[str]:
    """Results by rate of wrong labels, of this run and of one beside it."""
    beside = results.get("beside") or {"names": ["label noise"], "label_noise": []}
    answers = ("memorised", "corrected", "other")
    tables = []
    for name, entries in zip(
        beside["names"], (results["label_noise"], beside["label_noise"])
    ):
        head = [f"{name}, {selection}", "accuracy %", *(f"{a} %" for a in answers)]
        cells = [
            [
                f"{100 * entry['rate']:.4g} % wrong",
                _cell(entry["accuracy"].get(selection)),
                *(_cell(entry[answer].get(selection)) for answer in answers),
                str(entry["runs"]),
            ]
            for entry in entries
        ]
        tables.append(_aligned([[*head, "runs"], *cells]))
    return tables


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
    if args.top is not None and not args.suspect_labels:
        raise ConfigError("--top needs --suspect-labels.")
    if args.beside is not None:
        from jaxfer.evaluate import label_noise

        label_noise.write_beside(folder.path, args.beside)
    if args.suspect_labels:
        from jaxfer.evaluate import suspects

        suspects.measure(
            folder.path,
            selection=_SELECTIONS.get(args.selection),
            top=suspects.TOP if args.top is None else args.top,
        )
        print(f"Suspects: {folder.path / 'suspect_labels.csv'}", flush=True)
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
