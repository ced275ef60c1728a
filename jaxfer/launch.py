"""Train what a config describes: `python -m jaxfer.launch --config NAME`.

Any field of the config is set as `--config.optim.learning_rate=3e-4`. The
same command continues a run that was stopped.
"""

import functools
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from jaxfer import config as configs
from jaxfer import cpu
from jaxfer.errors import ConfigError, JaxferError

_WORKDIR = flags.DEFINE_string(
    "workdir", "", "Where results go; runs/<name of the config> if empty."
)
_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "A config: a file, or the name of a shipped one.", lock_config=True
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", "", "Train by several processes: host:port of the first, or auto."
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many there are.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which this is, from 0.")

_USAGE = """\
usage: {program} --config NAME [--config.FIELD=VALUE ...] [--workdir DIR]

Trains what a config describes, then writes report/ with the results.
The same command continues a run that was stopped.

  --config NAME           a file, or the name of a shipped config
  --config.FIELD=VALUE    any field of the config, e.g. optim.learning_rate
  --workdir DIR           where results go (runs/<name of the config>)
  --coordinator auto      one training by several processes, found by JAX; or
  --coordinator HOST:PORT of the first of --num_processes N, each with its
                          own --process_id I

examples:
  {program} --config quickstart.py
  {program} --config quickstart.py --config.epochs=3 --workdir runs/short
  {program} --config cfnet_ckplus.py --config.protocol.kind=subject
"""
_HELP = ("-h", "-help", "--help", "--helpshort", "--helpfull")


def resolve(argv: Sequence[str]) -> list[str]:
    """Command-line words with `--config NAME` made a path, all of it checked.

    Raises:
      ConfigError: no such config, a file that does not give one, or an override
        of a field that it does not have.
    """
    words, path, overrides = list(argv), None, []
    for i, word in enumerate(words):
        if word in ("--config", "-config") and i + 1 < len(words):
            path = configs.find_config(words[i + 1])
            words[i + 1] = str(path)
        elif word.startswith(("--config=", "-config=")):
            path = configs.find_config(word.split("=", 1)[1])
            words[i] = f"--config={path}"
        elif word.startswith("--config."):
            overrides.append(word[len("--config.") :].split("=", 1)[0])
    if path is None:
        raise ConfigError(
            "name a config: python -m jaxfer.launch --config quickstart.py"
        )
    config = configs.read_config(path)
    for field in overrides:
        configs.check_field(config, field)
    return words


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; errors that a user can act on exit with code 2."""
    words = list(sys.argv if argv is None else argv)
    program = words[0] if argv is not None else "python -m jaxfer.launch"
    if any(word in _HELP for word in words[1:]):
        print(_USAGE.format(program=program), end="")
        return
    cpu.apply()  # before a config file imports JAX
    train = functools.partial(_train, command=f"{program} {shlex.join(words[1:])}")
    try:
        app.run(train, argv=resolve(words), flags_parser=_parse)
    except JaxferError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; the same command continues", file=sys.stderr)
        sys.exit(130)


def _parse(words: Sequence[str]) -> list[str]:
    try:
        return flags.FLAGS(list(words))
    except (flags.Error, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(str(error)) from error


def _train(words: Sequence[str], command: str) -> None:
    if len(words) > 1:
        raise ConfigError(
            f"unexpected {' '.join(words[1:])!r}: fields are set as"
            " --config.optim.learning_rate=3e-4"
        )
    logging.set_verbosity(logging.WARNING)  # Orbax tells every step it takes
    from jaxfer import evaluate, train
    from jaxfer.evaluate import sheets

    cpu.use_compilation_cache()
    if _COORDINATOR.value:
        train.processes.start(
            _COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value
        )
    config = _CONFIG.value
    name = Path(flags.FLAGS["config"].config_filename).stem
    workdir = Path(_WORKDIR.value or config.workdir or f"runs/{name}")
    train.run(config, workdir, command=command, watch=sheets.create_watch(config))
    shown = train.processes.on_first(lambda: evaluate.finish(workdir))
    if train.processes.is_first():
        print(shown)


if __name__ == "__main__":
    main()
