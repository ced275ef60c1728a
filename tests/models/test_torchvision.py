"""Trunks with torchvision's weights give torchvision's numbers."""

import golden_rule
import jax
import pytest
from golden_rule import close

from jaxfer import models, weights


@pytest.mark.parametrize(
    ("model", "record", "seed", "shape", "layer"),
    [
        ("resnet50", "tv", 1541, (2, 224, 224, 3), "layer4"),
        ("resnet18", "resnet18", 1551, (2, 97, 64, 3), "layer4"),
        ("mobilenet_v2", "tv", 1540, (2, 224, 224, 3), "features.18"),
    ],
)
def test_outputs_equal_torchvision(model, record, seed, shape, layer):
    name = f"tv_{model}"
    golden, index = golden_rule.load(record)
    variables = weights.from_official(model, golden_rule.weights(index, name))
    images = golden_rule.uniform(seed, shape)
    outputs = jax.jit(models.create(model, 7).apply)(variables, images)
    close(outputs.logits, golden[f"{name}/eval/f64/logits"], 1e-5)
    key = f"{name}/eval/f64/{layer}"
    close(*golden_rule.sample(outputs.features["map"], golden, index, key), 1e-5)
