"""`jaxfer export RUN --output model.safetensors`: a trained model in one file.

`--card MODEL_CARD.md` tells what it is, how good, and for what.
"""

import argparse
from pathlib import Path

from jaxfer import files
from jaxfer.errors import CheckpointError, ConfigError, DataError
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
      trainable: keep batch norm (and FERSNet's decoder), for `method.initial` of
        another training. Such a file answers too, and is larger; but for FERSNet
        with FES augmentation, whose answers come from another network.

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
        "--output", type=Path, help=f"the file to write, {model_file.SUFFIX}"
    )
    parser.add_argument(
        "--selection", choices=("validation", "last"), default="validation"
    )
    parser.add_argument("--run", type=int, default=0, help="which fold and seed")
    parser.add_argument(
        "--trainable",
        action="store_true",
        help="larger, for method.initial of another training as well",
    )
    parser.add_argument(
        "--precision",
        choices=model_file.PRECISIONS,
        default="float16",
        help="of the stored weights; answers are computed in float32 either way",
    )
    parser.add_argument(
        "--card",
        type=Path,
        help="a model card to write, Markdown; with --output, of that file",
    )
    parser.add_argument(
        "--licence",
        default="",
        help="of the data, in words, for the card; or a file that holds them",
    )


def main(args: argparse.Namespace) -> int:
    """Write the file and the card, and say how large the file is."""
    if args.output is None and args.card is None:
        raise ConfigError(
            "nothing to write: name a file for the model with --output"
            f" model{model_file.SUFFIX}, or for its card with --card MODEL_CARD.md"
        )
    licence = _words(args.licence)
    chosen = {"selection": args.selection, "run": args.run}
    if args.output is not None:
        path = export_run(
            args.workdir,
            args.output,
            precision=args.precision,
            trainable=args.trainable,
            **chosen,
        )
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB in {args.precision}")
    if args.card is not None:
        from jaxfer.evaluate.model_card import model_card

        text = model_card(args.workdir, licence=licence, file=args.output, **chosen)
        _write(args.card, text)
        missing = "" if licence else "; the licence of the data is still to be written"
        print(f"{args.card}: model card{missing}")
    return 0


def _words(text: str) -> str:
    """The content of a file, where the text names one.

    Raises:
      DataError: that file cannot be read as text.
    """
    try:
        named = Path(text).is_file()
    except OSError:  # longer than a name can be
        return text
    if not named:
        return text
    try:
        return Path(text).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"--licence {text} cannot be read as text ({error}): name a UTF-8 text"
            " file, or give the words themselves"
        ) from error


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all.

    Raises:
      DataError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomically(path, text)
    except OSError as error:
        raise DataError(
            f"{path} could not be written ({error}); free some space or name another"
            " place with --card"
        ) from error
