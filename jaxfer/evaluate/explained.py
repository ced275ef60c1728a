"""A run's measured explanations, drawn for its report."""

from typing import Any

import numpy as np
from markupsafe import Markup

from jaxfer.evaluate import figures, run_folder
from jaxfer.evaluate.attention import ATTENTION, MASKS, PATTERN
from jaxfer.evaluate.examples import ImageOf, thumbnail
from jaxfer.evaluate.overlay import (
    colored,
    gray_picture,
    grown,
    overlay,
    scale_of,
    signed_picture,
)
from jaxfer.evaluate.run_folder import RunFolder

NAME = "explanations"
"""Of two files in a run's report/: what was measured, and arrays of pictures, which are
means and grids of pattern maps, and examples."""

KINDS = {
    "mask": "mask",
    "refined_mask": "refined mask",
    ATTENTION: "class activation map",
}
PATTERN_ROWS = {"pattern_maps": "Pattern maps", "gray_images": "Faces in grey"}
MEASURES = {
    "within_class": "Within a class",
    "within_class_across_identities": "… of different people",
    "between_classes": "Between classes",
    "between_classes_same_identity": "… of one person",
    "ratio": "Ratio, between : within",
    "ratio_across_identities": "Ratio by person",
}
GRAY_LEVEL = (1 / 255) ** 2
_SIDE = 160


def explained(
    folder: RunFolder, results: dict[str, Any], image_of: ImageOf | None
) -> dict[str, Any] | None:
    """What the report's section shows, or None where nothing was measured.

    Args:
      folder: the run.
      results: the content of results.json.
      image_of: reads a face; None leaves out what is drawn over one.
    """
    found = results.get(NAME)
    arrays = run_folder.pictures(folder, NAME)
    if found is None or arrays is None:
        return None
    names = folder.class_names
    masks = found.get("masks")
    curves = []
    if masks:
        kinds = {KINDS[name]: entry for name, entry in masks["kinds"].items()}
        curves = [
            Markup(figures.attention_curves(masks["shares"], kinds, way))
            for way in ("deletion", "insertion")
        ]
    plane = None
    if "embedding" in arrays:
        keys = ("embedding", "embedding_label", "embedding_share")
        points, label, share = (arrays[key] for key in keys)
        plane = Markup(figures.plane(points, label, names, share))
    alike = False
    if "pattern_maps" in found:
        apart = found["pattern_maps"]["pattern_maps"]["between_classes"]
        alike = apart is not None and apart["mean"] < GRAY_LEVEL
    return {
        "pattern_maps": None,
        **found,
        "masks": masks,
        "alike": alike,
        "measures": MEASURES,
        "curves": curves,
        "kinds": KINDS,
        "rows": PATTERN_ROWS,
        "plane": plane,
        "points": len(arrays.get("embedding", ())),
        "means": _means(arrays, names),
        "grid": _grid(arrays, image_of),
        "examples": _examples(arrays, names, image_of),
    }


def _means(arrays: dict[str, np.ndarray], names: list[str]) -> dict[str, Any] | None:
    """Mean pattern maps, and how each differs from the mean of all of them."""
    if "mean_patterns" not in arrays:
        return None
    means = arrays["mean_patterns"].astype(np.float32)
    present = np.flatnonzero(np.isfinite(means).all(axis=(1, 2)))
    apart = means - means[present].mean(axis=0)
    largest = max(float(np.abs(apart[present]).max()), 0.01)
    return {
        "largest": largest,
        "classes": [
            {
                "class": names[k],
                "mean": thumbnail(_large(gray_picture(means[k, ..., None]))),
                "apart": thumbnail(_large(signed_picture(apart[k], largest))),
            }
            for k in present
        ],
    }


def _large(picture: np.ndarray) -> np.ndarray:
    """Small pictures at the size of a thumbnail."""
    return grown(picture, _SIDE)


def _grid(
    arrays: dict[str, np.ndarray], image_of: ImageOf | None
) -> list[dict[str, Any]] | None:
    """For each person the pattern map of each class, with the face beside it."""
    if "grid_row" not in arrays:
        return None
    people = zip(arrays["grid_person"], arrays["grid_row"], arrays["grid_pattern"])
    return [
        {
            "person": str(person),
            "cells": [
                {
                    "pattern": thumbnail(
                        _large(gray_picture(picture[..., None] / 255))
                    ),
                    "face": thumbnail(image_of(int(row))) if image_of else None,
                }
                if row >= 0
                else None
                for row, picture in zip(rows, pictures)
            ],
        }
        for person, rows, pictures in people
    ]


def _examples(
    arrays: dict[str, np.ndarray], names: list[str], image_of: ImageOf | None
) -> dict[str, Any] | None:
    """Test images with what the model attended to, all masks on one scale."""
    masks = [name for name in MASKS if f"example_{name}" in arrays]
    kinds = [*masks, *([ATTENTION] if f"example_{ATTENTION}" in arrays else [])]
    if image_of is None or not kinds:
        return None
    values = {name: arrays[f"example_{name}"].astype(np.float32) for name in kinds}
    scales = {}
    if masks:
        shared = scale_of([values[name] for name in masks])
        scales = dict.fromkeys(masks, shared)
    if ATTENTION in values:
        values[ATTENTION] = np.maximum(values[ATTENTION], 0)
        scales[ATTENTION] = (0.0, float(values[ATTENTION].max()) or 1.0)
    shown = []
    for i, row in enumerate(arrays["example_row"]):
        face = image_of(int(row))
        over = [overlay(face, values[k][i], *scales[k], side=_SIDE) for k in kinds]
        pictures = [face, *over]
        if f"example_{PATTERN}" in arrays:
            pattern = arrays[f"example_{PATTERN}"][i].astype(np.float32)
            pictures.append(_large(gray_picture(pattern[..., None])))
        shown.append(
            {
                "true": names[arrays["example_label"][i]],
                "predicted": names[arrays["example_predicted"][i]],
                "confidence": float(arrays["example_probability"][i]),
                "pictures": [thumbnail(picture) for picture in pictures],
            }
        )
    titles = ["face", *(KINDS[name] for name in kinds)]
    if f"example_{PATTERN}" in arrays:
        titles.append("pattern map")
    bars = {
        ("masks" if name in MASKS else KINDS[name]): scale
        for name, scale in scales.items()
    }
    return {"shown": shown, "titles": titles, "bars": bars, "colors": colors_css()}


def colors_css() -> str:
    """The colours of a bar, low to high, as the stops of a CSS gradient."""
    stops = np.round(255 * colored(np.linspace(0, 1, 9), 0.55)).astype(int)
    return ", ".join(f"rgb({r} {g} {b})" for r, g, b in stops)
