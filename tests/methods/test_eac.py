"""A whole step of training, as it is wired, against the released code."""

import golden_rule
import jax
import jax.numpy as jnp
import numpy as np
from eac_reference import LABELS, compare_norms, compare_statistics, network, views
from flax import traverse_util

from jaxfer.methods import State, eac, supervised

SYSTEM = "eac_mbv2"


def test_a_step_equals_the_released_code(monkeypatch):
    """One step of plain gradient descent at rate 1 moves by minus the gradient."""
    reference = golden_rule.load("eac")
    config = eac.default_config()
    config.precision = "float64"
    config.method.update({"backbone": "mobilenet_v2", "stem": "torchvision"})
    rule = {"name": "sgd", "momentum": 0.0, "learning_rate": 1.0, "weight_decay": 0.0}
    config.optim.update(rule | {"schedule": "constant"})
    method = eac.create(config, num_classes=7, steps_per_epoch=1)
    seen = views(SYSTEM)
    monkeypatch.setattr(supervised, "views", lambda *_: list(map(jnp.asarray, wide)))
    images = np.zeros((2, 224, 224, 3), np.uint8)
    batch = {"image": images, "label": LABELS, "target": np.eye(7)[LABELS]}
    with jax.enable_x64():
        wide = [view.astype(np.float64) for view in seen]
        fresh = jax.eval_shape(method.init, jax.random.key(0), images)
        state = State(
            np.zeros((), np.int32),
            {kind: {"network": tree} for kind, tree in network(SYSTEM)[1].items()},
            jax.tree.map(
                lambda leaf: np.zeros(leaf.shape, leaf.dtype), fresh.opt_state
            ),
            np.ones((), np.float32),
        )
        before = jax.tree.map(np.float64, state.variables["params"])
        state.variables["params"] = before
        step = jax.jit(method.stages[0].passes[0].train_step)
        after, metrics = step(state, batch, jax.random.key(0))
        moved = jax.tree.map(
            lambda a, b: a - np.asarray(b), before, after.variables["params"]
        )
    golden, key = reference[0], f"{SYSTEM}/train/f64/"
    assert metrics["objective"][1] == metrics["loss"][1] == 2
    golden_rule.close(metrics["loss"][0] / 2, golden[f"{key}ce"], 1e-6)
    golden_rule.close(metrics["objective"][0] / 2, golden[f"{key}loss"], 1e-6)
    gradient = traverse_util.flatten_dict(moved["network"], sep="/")
    assert compare_norms(reference, SYSTEM, gradient) == (158, 158)
    compare_statistics(reference, SYSTEM, after.variables["batch_stats"]["network"])
