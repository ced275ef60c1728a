"""A finished run's models, to ask them more about their own data."""

import numpy as np

from jaxfer import train
from jaxfer.errors import ConfigError, DataError
from jaxfer.evaluate import run_folder
from jaxfer.evaluate.run_folder import PREDICTIONS, RunFolder


def restore(
    folder: RunFolder, selection: str | None = None
) -> tuple[str, train.Restored]:
    """A run's data set and models.

    Args:
      folder: of a finished run.
      selection: "best_by_validation" or "last"; None takes the former where
        there are validation images.

    Returns:
      The selection, and the run with its weights.

    Raises:
      JaxferError: a selection that it lacks, its data set is not here.
    """
    possible = run_folder.available(folder)
    selection = selection or possible[0]
    if selection not in possible:
        raise ConfigError(
            f"{folder.path} has the selections {', '.join(possible)}, not "
            f"{selection}: the run held out no validation images."
        )
    return selection, train.restore(folder.path, PREDICTIONS[selection])


def check_same_data(restored: train.Restored, folder: RunFolder) -> None:
    """Raises unless the data set here is the one that the run was judged on."""
    for restored_run, run in zip(restored.runs, folder.runs, strict=True):
        table = run_folder.predictions(run, "last") or {}
        rows = restored_run.rows.test
        labels = restored.dataset.table.label[rows]
        if not (
            np.array_equal(rows, table["index"])
            and np.array_equal(labels, table["label"])
        ):
            raise DataError(
                f"{folder.path} was trained on another version of "
                f"{restored.dataset.name} than the one prepared here: the test "
                f"images of fold {run.fold} differ. Prepare the data set as it was "
                "then, or train again."
            )
