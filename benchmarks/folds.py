"""A whole protocol with all folds at once against one after the other.

    python -m benchmarks.folds [--epochs 3] [--short]

Runs the quickstart's protocol both ways in one process, each from a cold compile,
and prints seconds and their ratio. Set-up, reading of data and reports are left out.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from benchmarks import quickstart
from jaxfer import cpu


def measure(way: str, epochs: int, short: bool) -> dict[str, float]:
    """Seconds of one run of the protocol, all of it and its training stages."""
    from jaxfer import train

    config = quickstart.create(epochs, short=short)
    config.protocol.parallel_folds = way
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        train.run(config, Path(folder), say=lambda line: None)
        total = time.perf_counter() - began
        stages = json.loads((Path(folder) / "run.json").read_text())["seconds"]
    return {"total": total, "stages": stages["total"]}


def main() -> None:
    """Print a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--short", action="store_true", help="only see that it runs")
    args = parser.parse_args()
    cpu.apply()
    cpu.tell()
    epochs = 1 if args.short else args.epochs
    found = {way: measure(way, epochs, args.short) for way in ("never", "always")}
    ratio = {k: found["never"][k] / found["always"][k] for k in ("total", "stages")}
    for way, name in (("never", "in turn"), ("always", "at once")):
        print(
            f"{name}: {found[way]['total']:.1f} s, of it {found[way]['stages']:.1f} s"
            " in stages"
        )
    print(f"speed-up: {ratio['total']:.2f}, of the stages {ratio['stages']:.2f}")
    print(json.dumps({"epochs": epochs, **found, "speed_up": ratio}))


if __name__ == "__main__":
    main()
