"""The pictures of a run's data set, where it is still prepared."""

from typing import TYPE_CHECKING

import numpy as np

from jaxfer.errors import JaxferError
from jaxfer.evaluate import run_folder
from jaxfer.evaluate.run_folder import RunFolder

if TYPE_CHECKING:
    from jaxfer.evaluate.examples import ImageOf

SIDE = 160


def image_source(folder: RunFolder) -> "ImageOf | None":
    """Reads pictures by row of the table, or None where they are not at hand.

    They are not if the data set is not prepared here, or is another version
    than the run's: rows would then name other images.
    """
    from jaxfer import data
    from jaxfer.data.prepare import data_folder

    settings = folder.config.get("data", {})
    # Loading draws the synthetic faces where they are absent; a report does not.
    try:
        if not (data_folder(settings.get("dir") or None) / settings["name"]).is_dir():
            return None
        dataset = data.load(
            settings["name"],
            data_dir=settings.get("dir") or None,
            label_mode=settings.get("label_mode", "majority"),
        )
    except (JaxferError, KeyError):
        return None
    for run in folder.runs:
        table = run_folder.predictions(run, "last") or {}
        rows = table["index"]
        if rows.max(initial=-1) >= len(dataset.table) or not np.array_equal(
            dataset.table.label[rows], table["label"]
        ):
            return None
    return lambda row: data.read_images(dataset, [row], SIDE)[0]
