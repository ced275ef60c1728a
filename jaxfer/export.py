"""`jaxfer export RUN --output model.safetensors`: a trained model in one file."""

import argparse
from pathlib import Path

from jaxfer import files
from jaxfer.errors import CheckpointError, ConfigError
from jaxfer.weights import model_file


def export_run(
    workdir: str | Path,
    output: str | Path,
    *,
    selection: str = "validation",
    run: int = 0,
    precision: str = "float16",
    trainable: bool = False,
) -> Path:
    """Write the model of a finished run to one file.

    Args:
      workdir: a finished working folder.
      output: the file to write.
      selection: "validation" or "last".
      run: which of its folds and seeds.
      precision: of the stored arrays.
      trainable: keep batch norm, for `method.initial` of another training; such a
        file gives no answers.

    Raises:
      ConfigError: trainable, of a method whose network is not used so.
      CheckpointError: not a finished working folder, damaged, no such run or
        selection.
    """
    import jax

    import jaxfer
    from jaxfer import train

    trained = train.load_run(workdir, selection=selection, run=run)
    deployed = trained.method.deployed
    convert = deployed.trainable if trainable else deployed.convert
    if convert is None:
        raise ConfigError(
            f"the method {trained.method.name} has no network that another training"
            " could start from: leave out --trainable"
        )
    variables = jax.device_get(convert(trained.variables))
    report = Path(workdir) / "report" / "results.json"
    facts = {
        "jaxfer_version": jaxfer.__version__,
        "class_names": list(trained.class_names),
        "image_size": trained.config.data.image_size,
        "config": trained.config.to_dict(),
        "selection": selection,
        "run": run,
        "trainable": trainable,
        "results": files.read_record(report, CheckpointError)["selections"]
        if report.exists()
        else {},
    }
    return model_file.write(output, variables, facts, precision=precision)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `jaxfer export`."""
    parser.add_argument("workdir", type=Path, help="a finished working folder")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help=f"the file to write, {model_file.SUFFIX}",
    )
    parser.add_argument(
        "--selection", choices=("validation", "last"), default="validation"
    )
    parser.add_argument("--run", type=int, default=0, help="which fold and seed")
    parser.add_argument(
        "--trainable",
        action="store_true",
        help="for method.initial of another training, not for answers",
    )
    parser.add_argument("--precision", choices=model_file.PRECISIONS, default="float16")


def main(args: argparse.Namespace) -> int:
    """Write the file and say how large it is."""
    path = export_run(
        args.workdir,
        args.output,
        selection=args.selection,
        run=args.run,
        precision=args.precision,
        trainable=args.trainable,
    )
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    return 0
