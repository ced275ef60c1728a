"""The console command `jaxfer`; each subcommand imports what it needs."""

import argparse
import importlib
import sys
from collections.abc import Sequence

import jaxfer
from jaxfer.errors import JaxferError

# name: (module with add_arguments(parser) and main(args) -> int, help)
_COMMANDS = {
    "prepare": ("jaxfer.data.prepare", "turn a data set's files into shards"),
    "evaluate": ("jaxfer.evaluate.cli", "judge a finished run; corrupt its images"),
    "export": ("jaxfer.export", "write a trained model to one file"),
    "predict": ("jaxfer.predict", "name the expressions in images"),
    "explain": ("jaxfer.explain", "draw where a trained model looked"),
    "synthesize": ("jaxfer.synthesize", "draw faces with other expressions"),
}

_COMPILING = ("evaluate", "export", "predict", "explain", "synthesize")
"""Commands whose programs are kept for the next time; `train` sees to its own."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="jaxfer",
        description="Facial-expression recognition in JAX.",
        epilog="Training: jaxfer train --config NAME, or python -m jaxfer.launch.",
    )
    parser.add_argument("--version", action="version", version=jaxfer.__version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("train", help="train what a config describes", add_help=False)
    for name, (module, text) in _COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        if words[:1] == [name]:  # the others' modules stay unimported
            importlib.import_module(module).add_arguments(command)
    if words[:1] == ["train"]:
        from jaxfer import launch

        launch.main(["jaxfer train", *words[1:]])
        return 0
    args = parser.parse_args(words)
    if args.command is None:
        parser.print_help()
        return 2
    try:
        if args.command in _COMPILING:
            from jaxfer import cpu

            cpu.use_compilation_cache()
        return importlib.import_module(_COMMANDS[args.command][0]).main(args)
    except JaxferError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
