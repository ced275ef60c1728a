"""A run's drawn faces, as judged, for its report; and as a sheet."""

from typing import Any

import numpy as np

from jaxfer.evaluate import face_grid, run_folder, sheet
from jaxfer.evaluate.examples import thumbnail
from jaxfer.evaluate.overlay import grown
from jaxfer.evaluate.run_folder import RunFolder

NAME = "synthesis"
"""Of two files in a run's report/: what was measured, and arrays of the grid."""

_ARRAYS = ("person", "source", "source_label", "drawn", "real", "has_real")

SHEET = "synthesis.png"
"""The grid of the report as a picture, beside it."""

KINDS = {"real": "real faces", "middle": "their middle", "drawn": "drawn from it"}
"""What recognisers are asked about."""

PAIRS = {
    "drawn": "face and what is drawn from it",
    "same_person": "one person's faces, other expressions",
    "different_people": "faces of two people",
}
"""Whose embeddings are compared."""

_SIDE = 128


def synthesized(folder: RunFolder, results: dict[str, Any]) -> dict[str, Any] | None:
    """What the report's section shows, or None where nothing was measured.

    Writes the sheet too, RUN/report/synthesis.png.

    Args:
      folder: the run.
      results: the content of results.json.
    """
    found = results.get(NAME)
    arrays = run_folder.pictures(folder, NAME, _ARRAYS)
    if found is None or arrays is None:
        return None
    names = folder.class_names
    figure = face_grid.draw(
        grid_rows(arrays, names), "Synthesised expressions", _subtitle(folder, found)
    )
    sheet.save(figure, folder.path / "report" / SHEET)
    return {**found, "kinds": KINDS, "pairs": PAIRS, "grid": _cells(arrays, names)}


def _subtitle(folder: RunFolder, found: dict[str, Any]) -> str:
    of = found["pictures_of"]
    return (
        f"{folder.info['method']} on {folder.info['dataset']}, seed {of['seed']}, fold"
        f" {of['fold']}: people that it was not trained on"
    )


def grid_rows(arrays: dict[str, np.ndarray], names: list[str]) -> list[face_grid.Row]:
    """Drawn faces by person and expression, the real ones below, of `synthesis.npz`."""
    rows = []
    for number, person in enumerate(arrays["person"]):
        captions = ["face", *names] if number == 0 else [""] * (len(names) + 1)
        pictures = [arrays["source"][number], *arrays["drawn"][number]]
        cells = [face_grid.Cell(*both) for both in zip(pictures, captions, strict=True)]
        label = names[arrays["source_label"][number]]
        rows.append(face_grid.Row(cells, str(person) or "drawn", f"from {label}"))
        has = arrays["has_real"][number]
        if has.any():
            real = [
                face_grid.Cell(image) if there else None
                for image, there in zip(arrays["real"][number], has, strict=True)
            ]
            rows.append(face_grid.Row([None, *real], "", "real"))
    return rows


def _cells(arrays: dict[str, np.ndarray], names: list[str]) -> list[dict[str, Any]]:
    return [
        {
            "person": str(person),
            "source": _picture(arrays["source"][number]),
            "label": names[arrays["source_label"][number]],
            "cells": [
                {"drawn": _picture(drawn), "real": _picture(real) if there else None}
                for drawn, real, there in zip(
                    *(arrays[key][number] for key in ("drawn", "real", "has_real")),
                    strict=True,
                )
            ],
        }
        for number, person in enumerate(arrays["person"])
    ]


def _picture(image: np.ndarray) -> str:
    return thumbnail(grown(image, _SIDE))
