"""`jaxfer export RUN --output model.safetensors`: a trained model in one file.

`--card MODEL_CARD.md` tells what it is, how good, and for what.
"""

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


def write_card(
    workdir: str | Path,
    output: str | Path,
    *,
    selection: str = "validation",
    run: int = 0,
    licence: str = "",
    file: str | Path | None = None,
) -> Path:
    """Write the model card of a finished run; see `jaxfer.evaluate.model_card`.

    Args:
      workdir: a finished working folder.
      output: the file to write, Markdown.
      selection: "validation" or "last".
      run: which of its folds and seeds.
      licence: of the data, in words.
      file: that the model was exported to.

    Raises:
      DataError: no folder of a finished run, no such run or selection, or the card
        cannot be written.
    """
    from jaxfer.evaluate.model_card import model_card
    from jaxfer.evaluate.run_folder import write_text

    text = model_card(workdir, selection=selection, run=run, licence=licence, file=file)
    return write_text(Path(output), text)


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
        help="for method.initial of another training, not for answers",
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
        licence = _words(args.licence)
        card = write_card(
            args.workdir, args.card, licence=licence, file=args.output, **chosen
        )
        missing = "" if licence else "; the licence of the data is still to be written"
        print(f"{card}: model card{missing}")
    return 0


def _words(text: str) -> str:
    """The content of a file, where the text names one."""
    try:
        return Path(text).read_text(encoding="utf-8") if Path(text).is_file() else text
    except (OSError, ValueError):  # longer than a name can be, or no text file
        return text
