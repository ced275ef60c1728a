"""Checkpoints by Orbax: asynchronous, atomic, read back newest first."""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxfer.errors import FULL, CheckpointError, short, storage_problem, system_errors


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
        """Open a folder; it is created where absent.

        Raises:
          CheckpointError: the folder cannot be made or listed.
        """
        import orbax.checkpoint as ocp

        self._ocp = ocp
        self._folder = folder.resolve()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, enable_async_checkpointing=True
        )
        try:
            self._manager = ocp.CheckpointManager(
                self._folder, options=options, item_names=("state", "meta")
            )
        except OSError as error:
            if system_errors(error) & FULL:
                raise  # what is to be done then is told for all that a run writes
            raise CheckpointError(
                f"the folder of checkpoints {self._folder} cannot be used:"
                f" {short(error)}. See to the disk, the network or the permissions,"
                " and run the same command again."
            ) from error

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

    def folder(self, number: int) -> Path:
        """Where one checkpoint is."""
        return self._folder / str(number)

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

        Raises:
          CheckpointError: it cannot be moved.
        """
        name = f"damaged_{self._folder.name}_{number}"
        target = self._folder.parent / name
        while target.exists():
            target = target.with_name(f"{target.name}_again")
        try:
            shutil.move(self.folder(number), target)
        except OSError as error:
            raise CheckpointError(
                f"{self.folder(number)} is damaged and cannot be moved to {target}:"
                f" {short(error)}. Move it yourself, and run the same command again."
            ) from error
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
      CheckpointError: missing, damaged, of another shape, or out of reach.
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
        if hindrance := storage_problem(error):
            raise CheckpointError(
                f"{folder} cannot be read: {hindrance}. It may be whole: see to the"
                " disk, the network or the permissions, and try again."
            ) from error
        raise CheckpointError(
            f"{folder} cannot be read as variables of this run's config:"
            f" {short(error)}. It is damaged, or of another config: put back a copy of"
            " it, or train again into another folder."
        ) from error
