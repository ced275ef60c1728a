"""Checkpoints by Orbax: asynchronous, atomic, read back newest first."""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxfer.errors import CheckpointError


class Position(NamedTuple):
    """How far a group of runs has come: `step` is in the present epoch."""

    stage: int
    epoch: int
    step: int


class Checkpoints:
    """The checkpoints of one group of runs, `<folder>/<number>/`.

    Each holds `state`, a pytree of arrays, and `meta`, a JSON object with the
    position, the class names and the keys' origin.
    """

    def __init__(self, folder: Path, *, keep: int) -> None:
        """Open a folder; it is created where absent."""
        import orbax.checkpoint as ocp

        self._ocp = ocp
        self._folder = folder.resolve()
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=keep, enable_async_checkpointing=True
            ),
            item_names=("state", "meta"),
        )

    def save(self, number: int, state: Any, meta: dict[str, Any]) -> None:
        """Begin to save; returns once the arrays are copied.

        The copy makes it safe to donate `state` to the next step at once.
        """
        ocp = self._ocp
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(_copied(state)),
            meta=ocp.args.JsonSave(meta),
        )
        if number not in self._manager.all_steps():
            self._manager.save(number, args=args, force=True)

    def numbers(self) -> list[int]:
        """Those that are complete, newest first."""
        return sorted(self._manager.all_steps(), reverse=True)

    def meta(self, number: int) -> dict[str, Any]:
        """The JSON object of one checkpoint."""
        args = self._ocp.args.Composite(meta=self._ocp.args.JsonRestore())
        return self._manager.restore(number, args=args)["meta"]

    def restore(self, number: int, like: Any) -> Any:
        """The arrays of one checkpoint, placed like the tree `like`."""
        ocp = self._ocp
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        args = ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
        return self._manager.restore(number, args=args)["state"]

    def set_aside(self, number: int) -> Path:
        """Move a damaged checkpoint out of the way; nothing is deleted.

        `reload` must follow.
        """
        name = f"damaged_{self._folder.name}_{number}"
        target = self._folder.parent / name
        while target.exists():
            target = target.with_name(f"{target.name}_again")
        shutil.move(self._folder / str(number), target)
        return target

    def reload(self) -> None:
        """See what is in the folder now."""
        self._manager.reload()

    def wait(self) -> None:
        """Return when what was begun is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait, and release the files."""
        self._manager.wait_until_finished()
        self._manager.close()


@jax.jit
def _copied(state: Any) -> Any:
    return jax.tree.map(jnp.copy, state)


def save_variables(folder: Path, variables: Any) -> None:
    """Write variables of one run so that they appear whole or not at all."""
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder.resolve(), variables, force=True)


def load_variables(folder: Path, like: Any) -> Any:
    """Read what `save_variables` wrote, in the shapes of `like`.

    Raises:
      CheckpointError: missing, damaged, or of another shape.
    """
    import orbax.checkpoint as ocp

    if not folder.is_dir():
        raise CheckpointError(
            f"{folder} is missing: the run has not finished, or was made without"
            " validation data. Run its command again to finish it."
        )
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            return checkpointer.restore(
                folder.resolve(), jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
            )
    except (ValueError, KeyError, OSError) as error:
        raise CheckpointError(
            f"{folder} cannot be read as variables of this run's config: {error}"
        ) from error
