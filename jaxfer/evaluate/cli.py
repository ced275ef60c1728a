"""`jaxfer evaluate RUN`: report again, corruptions, suspect labels, drawn faces."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxfer.errors import ConfigError
from jaxfer.evaluate.tables import cell

if TYPE_CHECKING:
    from jaxfer.evaluate.robustness import Corruption

_SELECTIONS = {"validation": "best_by_validation", "last": "last"}


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
    parser.add_argument(
        "--judge",
        type=Path,
        metavar="OTHER_RUN",
        help="ask a recogniser, trained on real images, about the faces that this run "
        "draws",
    )
    parser.add_argument(
        "--identity",
        type=Path,
        metavar="FILE_OR_RUN",
        help="LightCNN's released weights or a run of lfn: whether the faces that this "
        "run draws are still of the same people (method.identity_weights)",
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


def main(args: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    if args.train_too:
        from jaxfer import cpu

        cpu.apply()  # first: it may start the process again
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
    if args.judge is not None or args.identity is not None:
        from jaxfer.evaluate import synthesis

        synthesis.measure(folder.path, judge=args.judge, identity=args.identity)
    if corruptions:
        from jaxfer.evaluate import robustness
        from jaxfer.evaluate.facts import corruption_name

        def say(corruption: "Corruption", result: Mapping[str, Any]) -> None:
            name = corruption_name(corruption._asdict())
            print(f"{name}: accuracy {cell(result['accuracy'])} %", flush=True)

        robustness.measure(
            folder.path,
            corruptions,
            selection=_SELECTIONS.get(args.selection),
            train_too=args.train_too,
            say=say,
        )
    print(evaluate.finish(folder.path))
    return 0
