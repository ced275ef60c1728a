"""Accuracy of the quickstart trained in float32 and in bfloat16, from the same start.

    python -m benchmarks.precision [--epochs 12] [--output FILE] [--short]

Same folds, first weights and order of images: what differs is the precision of the
arithmetic. Prints test accuracies over the folds, of the epoch chosen by validation,
and the seconds of the training stages; `--output` keeps them as JSON.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import quickstart
from jaxfer import cpu


def measure(precision: str, epochs: int, *, short: bool) -> dict[str, Any]:
    """Accuracies of one training of all folds, and its seconds."""
    from jaxfer import train
    from jaxfer.evaluate.summary import summarize

    config = quickstart.create(epochs, short=short)
    config.precision = precision
    with tempfile.TemporaryDirectory() as folder:
        train.run(config, Path(folder), say=lambda line: None)
        results = summarize(folder)
    chosen = results["selections"][results["headline"]["selection"]]
    return {
        "accuracy": chosen["accuracy"],
        "selection": results["headline"]["selection"],
        "seconds": results["timing"]["seconds"]["total"],
        "devices": results["environment"]["devices"],
    }


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Print a table; write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--output", type=Path, help="a file for the figures, as JSON")
    parser.add_argument("--short", action="store_true", help="only see that it runs")
    args = parser.parse_args(arguments)
    epochs = 1 if args.short else args.epochs
    found = {
        precision: measure(precision, epochs, short=args.short)
        for precision in ("float32", "bfloat16")
    }
    for precision, row in found.items():
        accuracy = row["accuracy"]
        print(
            f"{precision:10}{accuracy['mean']:8.1%} ± {accuracy['std'] or 0:.1%} over"
            f" {accuracy['n']} folds, {row['seconds']:.1f} s in stages"
        )
    wide, narrow = (row["accuracy"]["mean"] for row in found.values())
    report = {"epochs": epochs, "difference": narrow - wide, **found}
    print(f"bfloat16 less float32: {100 * report['difference']:+.1f} points")
    if args.output:
        args.output.write_text(json.dumps(report, indent=1) + "\n")
    return report


if __name__ == "__main__":
    cpu.apply()
    cpu.tell()
    main()
