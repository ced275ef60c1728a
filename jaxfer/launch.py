"""Train what a config describes: `python -m jaxfer.launch --config NAME`.

Any field of the config is set as `--config.optim.learning_rate=3e-4`. The
same command continues a run that was stopped.
"""

import os
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
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Join a cluster: calls jax.distributed.initialize()."
)
_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "A config: a file, or the name of a shipped one.", lock_config=True
)


def resolve(argv: Sequence[str]) -> list[str]:
    """Command-line words with `--config NAME` made a path, overrides checked.

    Raises:
      ConfigError: no such config, or an override of a field it does not have.
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
    if path is None and not any(w.startswith("--help") for w in words):
        raise ConfigError(
            "name a config: python -m jaxfer.launch --config quickstart.py"
        )
    if path is not None and overrides:
        config = configs.read_config(path)
        for field in overrides:
            configs.check_field(config, field)
    return words


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; errors that a user can act on exit with code 2."""
    words = list(sys.argv if argv is None else argv)
    try:
        app.run(_train, argv=resolve(words), flags_parser=_parse)
    except JaxferError as error:
        sys.exit(_fail(error))


def _fail(error: JaxferError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 2


def _parse(words: Sequence[str]) -> list[str]:
    try:
        return flags.FLAGS(list(words))
    except (flags.Error, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(str(error)) from error


def _train(words: Sequence[str]) -> None:
    if len(words) > 1:
        raise ConfigError(
            f"unexpected {' '.join(words[1:])!r}: fields are set as"
            " --config.optim.learning_rate=3e-4"
        )
    cpu.apply()
    logging.set_verbosity(logging.WARNING)  # Orbax tells every step it takes
    import jax

    from jaxfer import evaluate, train

    _use_compilation_cache()
    if _DISTRIBUTED.value:
        jax.distributed.initialize()
    config = _CONFIG.value
    name = Path(flags.FLAGS["config"].config_filename).stem
    workdir = Path(_WORKDIR.value or config.workdir or f"runs/{name}")
    command = " ".join(["python -m jaxfer.launch", *sys.argv[1:]])
    try:
        train.run(config, workdir, command=command)
        if jax.process_index() == 0:
            print(evaluate.finish(workdir))
    except JaxferError as error:
        sys.exit(_fail(error))


def _use_compilation_cache() -> None:
    """Keep compiled programs between processes, unless the user chose a place."""
    import jax

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
        jax.config.update("jax_compilation_cache_dir", str(cache / "jaxfer" / "xla"))


if __name__ == "__main__":
    main()
