"""Train what a config describes: `python -m jaxfer.launch --config NAME`.

Any field of the config is set as `--config.optim.learning_rate=3e-4`. The
same command continues a run that was stopped.
"""

import difflib
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

_OURS = ("config", "workdir", "coordinator", "num_processes", "process_id")
_OVERRIDES = ("config.", "noconfig.")

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
    """Command-line words with `--config NAME` made a path; no config is read.

    Raises:
      ConfigError: a word that is no flag, or no config of that name.
    """
    words, path = list(argv), None
    i = 1
    while i < len(words):
        name, value = _parts(words[i])
        flag = _flag(words[i], name)
        takes = value is None and not flag.boolean and i + 1 < len(words)
        if name == "config" and value is not None:
            path = configs.find_config(value)
            words[i] = f"--config={path}"
        elif name == "config" and takes:
            path = configs.find_config(words[i + 1])
            words[i + 1] = str(path)
        elif name.startswith(_OVERRIDES) and takes:
            # Whether it is a field that takes no value, the config has to tell.
            takes = not words[i + 1].startswith("--")
        i += 2 if takes else 1
    if path is None:
        raise ConfigError(
            "name a config: python -m jaxfer.launch --config quickstart.py"
        )
    return words


def check_fields(argv: Sequence[str]) -> None:
    """Check the config that resolved words name, and that it has their fields.

    Raises:
      ConfigError: the file gives no config, or one without such a field.
    """
    parts = [_parts(word) for word in argv[1:]]
    names = [name for name, _ in parts]
    at = names.index("config")
    path = parts[at][1] or argv[at + 2]
    config = configs.read_config(Path(path))
    for name in names:
        if name.startswith(_OVERRIDES):
            configs.check_field(config, name.split(".", 1)[1])


def _parts(word: str) -> tuple[str, str | None]:
    """A flag's name, empty where a word is none, and its value if that is within."""
    if not word.startswith("-"):
        return "", None
    name, equals, value = word.lstrip("-").partition("=")
    return name, value if equals else None


def _flag(word: str, name: str) -> "flags.Flag":
    """The flag of a name; that of --config for the fields.

    Raises:
      ConfigError: there is none; names the nearest of the launcher's.
    """
    found = flags.FLAGS
    if name.startswith(_OVERRIDES):
        return found["config"]
    if name in found:
        return found[name]
    if name.startswith("no") and name[2:] in found and found[name[2:]].boolean:
        return found[name[2:]]
    raise ConfigError(
        f"unexpected {word!r}.{_nearest(word, name)} The launcher takes --config NAME,"
        f" --config.FIELD=VALUE, {', '.join(f'--{n}' for n in _OURS[1:])}."
    )


def _nearest(word: str, name: str) -> str:
    """What may have been meant by a word that is no flag, as a sentence."""
    if not name:
        name, equals, _ = word.partition("=")
        config = configs.nearest_config(word)
        if config or not equals:
            return f" Did you mean --config {config}?" if config else ""
    fields = [field for field, _ in configs.flatten(configs.base_config())]
    inner = [field for field in fields if field.rsplit(".", 1)[-1] == name]
    near = difflib.get_close_matches(name, (*_OURS, *fields), n=1, cutoff=0.5)
    if name not in fields and len(inner) == 1:
        near = inner
    if not near:
        return ""
    return f" Did you mean --{'' if near[0] in _OURS else 'config.'}{near[0]}?"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; errors that a user can act on exit with code 2."""
    words = list(sys.argv if argv is None else argv)
    program = words[0] if argv is not None else "python -m jaxfer.launch"
    if any(word in _HELP for word in words[1:]):
        print(_USAGE.format(program=program), end="")
        return
    train = functools.partial(_train, command=f"{program} {shlex.join(words[1:])}")
    try:
        resolved = resolve(words)
        cpu.apply()  # before a config file imports JAX
        check_fields(resolved)
        app.run(train, argv=resolved, flags_parser=_parse)
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
    if len(words) > 1:  # what follows a field that takes no value
        raise ConfigError(
            f"unexpected {' '.join(words[1:])!r}: write --config.FIELD=VALUE"
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
    watch = sheets.create_watch(config)
    train.run(config, workdir, command=command, say=cpu.say, watch=watch)
    shown = train.processes.on_first(lambda: evaluate.finish(workdir))
    if train.processes.is_first():
        print(shown)


if __name__ == "__main__":
    main()
