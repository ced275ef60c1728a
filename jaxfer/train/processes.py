"""What several processes of one training tell each other; alone, nothing.

All that depends on a clock, on free memory or on files is decided by the first
process and told to the others through the key-value store of
`jax.distributed`, which leaves the devices at their work.
"""

import itertools
import json
import signal
from collections.abc import Callable
from typing import Any, TypeVar

import jax

from jaxfer.errors import ConfigError, JaxferError

T = TypeVar("T")

_TIMEOUT_MS = 24 * 3600 * 1000
"""The first process may read a whole data set while the others wait. Should it
die, the others are ended by `jax.distributed`, long before."""

_KEPT = 1000
_calls = itertools.count()


def start(
    coordinator: str, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Join the other processes; call it before anything touches a device.

    Args:
      coordinator: host:port of the first process, the same for all; or "auto",
        where Slurm, Open MPI or Cloud TPU tell JAX all three.
      num_processes: how many there are.
      process_id: which this is, from 0.

    Raises:
      ConfigError: they do not find each other.
    """
    found = coordinator == "auto"
    if not found and (num_processes is None or process_id is None):
        raise ConfigError(
            "--coordinator=HOST:PORT needs --num_processes and --process_id; with"
            " --coordinator=auto they are found under Slurm, Open MPI and Cloud TPU"
        )
    try:
        jax.distributed.initialize(
            None if found else coordinator,
            num_processes,
            process_id,
            cluster_detection_method=None if found else "deactivate",
            shutdown_timeout_seconds=60,
        )
        # JAX catches it to tell of a preemption, and the process would go on; a
        # process that is stopped continues from its checkpoints.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    except (ValueError, RuntimeError) as error:
        raise ConfigError(
            f"the processes of this training did not find each other: {error}. Start"
            " as many as --num_processes says, each with its own --process_id and"
            " the same --coordinator, where they can reach it."
        ) from error


def is_first() -> bool:
    """Whether this process is the one that writes and decides."""
    return jax.process_index() == 0


def _client() -> Any:
    from orbax.checkpoint import multihost

    return multihost.get_jax_distributed_client()


def _tell(number: int, value: Any) -> None:
    me, client = jax.process_index(), _client()
    client.key_value_set(f"jaxfer/{number}/{me}", json.dumps(value))
    if number >= _KEPT:  # nobody is that far behind: training steps bind all
        client.key_value_delete(f"jaxfer/{number - _KEPT}/{me}")


def _hear(number: int, process: int) -> Any:
    key = f"jaxfer/{number}/{process}"
    return json.loads(_client().blocking_key_value_get(key, _TIMEOUT_MS))


def agree(value: T) -> T:
    """The first process' value, a JSON one, on all of them."""
    if jax.process_count() == 1:
        return value
    number = next(_calls)
    if is_first():
        _tell(number, value)
        return value
    return _hear(number, 0)


def gather(value: T) -> list[T]:
    """The values of all processes, JSON ones, on all of them."""
    if jax.process_count() == 1:
        return [value]
    number = next(_calls)
    _tell(number, value)
    return [_hear(number, process) for process in range(jax.process_count())]


def on_first(fn: Callable[[], T]) -> T:
    """What `fn` returns, a JSON value, or raises on the first process, on all.

    Raises:
      JaxferError: `fn` raised on the first process.
    """
    if jax.process_count() == 1:
        return fn()
    if not is_first():
        told: dict[str, Any] = agree({})
        if "problem" in told:
            raise JaxferError(f"the first process stopped: {told['problem']}")
        return told["value"]
    try:
        value = fn()
    except Exception as error:
        agree({"problem": str(error)})
        raise
    agree({"value": value})
    return value


def in_turn(fn: Callable[[], T]) -> T:
    """What `fn` returns, called by the first process before the others.

    What it prepares on a disk that they share is then there for them.

    Raises:
      JaxferError: `fn` raised here, or on another process.
    """
    value, failure = None, None
    for turn in (True, False):
        if is_first() is turn:
            try:
                value = fn()
            except Exception as error:
                failure = error
        problems = gather(failure and f"{failure}")
        for process, problem in enumerate(problems):
            if problem is not None:
                raise failure or JaxferError(f"process {process} stopped: {problem}")
    return value  # type: ignore[return-value]
