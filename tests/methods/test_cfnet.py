import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer import losses, models
from jaxfer.errors import ConfigError
from jaxfer.methods import cfnet, common
from jaxfer.models.cfnet_attention import global_attention

KEY = jax.random.key(0)


def make(**options):
    config = cfnet.default_config()
    config.method.update({"width": 0.03125, "image_size": 14, **options})
    config.data.image_size = 14
    return cfnet.create(config, num_classes=3, steps_per_epoch=2)


def batch():
    rng = np.random.default_rng(0)
    label = jnp.asarray([0, 1, 2, 1], jnp.int32)
    return {
        "image": jnp.asarray(rng.integers(0, 255, (4, 14, 14, 3)), jnp.uint8),
        "label": label,
        "target": jnp.eye(3)[label],
        "index": jnp.arange(4, dtype=jnp.int32),
    }


@pytest.fixture(scope="module")
def trained():
    method, data = make(weighting="uncertainty"), batch()
    state = jax.jit(method.init)(KEY, data["image"])
    after, metrics = jax.jit(method.stages[0].passes[0].train_step)(state, data, KEY)
    return method, state, after, metrics


def test_the_first_stage_trains_the_network_and_leaves_the_fusion(trained):
    _, before, after, metrics = trained
    chex.assert_trees_all_equal(
        before.variables["params"]["fusion"], after.variables["params"]["fusion"]
    )
    for part in ("network", "log_variances"):
        moved = jax.tree.map(
            lambda a, b: bool((a != b).any()),
            before.variables["params"][part],
            after.variables["params"][part],
        )
        assert all(jax.tree.leaves(moved)), part
    for name in ("objective", "loss"):
        total, count = metrics[name]
        assert float(count) == 4 and np.isfinite(float(total))
    assert {"accuracy", "local/accuracy", "global/accuracy", "fused/accuracy"} < set(
        metrics
    )


def test_the_global_heads_attention_is_kept_consistent(trained):
    _, state, _, plain = trained
    method, data = make(weighting="uncertainty", consistency=5.0), batch()
    step = jax.jit(method.stages[0].passes[0].train_step)
    after, metrics = step(state, data, KEY)
    network = state.variables["params"]["network"]
    model = models.create("cfnet", 3, width=0.03125, momentum=0.99)

    def attention(images):
        outputs, _ = model.apply(
            {
                "params": network,
                "batch_stats": state.variables["batch_stats"]["network"],
            },
            images,
            train=True,
            mutable=["batch_stats"],
        )
        return global_attention(network, outputs.maps["global"]), outputs

    images = data["image"][..., ::-1].astype(jnp.float32) / 255
    (maps, outputs), (mirrored, _) = map(
        jax.jit(attention), (images, images[:, :, ::-1])
    )
    # Without biases, as all begin, a network of ReLUs is its slope times its input.
    np.testing.assert_allclose(
        maps.mean((1, 2)), outputs.heads["global"], rtol=1e-4, atol=1e-6
    )
    added = 5.0 * losses.attention_consistency(maps, mirrored)
    assert float(added.min()) > 0
    np.testing.assert_allclose(
        metrics["objective"][0] - plain["objective"][0], added.sum(), rtol=1e-3
    )
    means = [
        s.variables["batch_stats"]["network"]["global"]["bn1a"]["mean"]
        for s in (state, after)
    ]
    assert not np.array_equal(*means)


@pytest.mark.parametrize(("second_view", "drawn"), [("flip", 0), ("independent", 1)])
def test_the_second_view_is_chosen(trained, monkeypatch, second_view, drawn):
    calls, mirrored = [], common.mirrored

    def counted(*args, **options):
        calls.append(args)
        return mirrored(*args, **options)

    monkeypatch.setattr(common, "mirrored", counted)
    method = make(weighting="uncertainty", consistency=5.0, second_view=second_view)
    step = method.stages[0].passes[0].train_step
    jax.eval_shape(step, trained[1], batch(), KEY)
    assert len(calls) == drawn


def test_the_second_stage_trains_the_fusion_alone_on_the_features(trained):
    method, _, state, _ = trained
    stage = method.stages[1]
    data = batch()
    features = stage.features(state.variables, data.pop("image"))
    step = jax.jit(stage.passes[0].train_step)
    after, _ = step(state, data | {"features": features}, KEY)
    before, now = state.variables, after.variables
    chex.assert_trees_all_equal(
        (before["params"]["network"], before["batch_stats"]),
        (now["params"]["network"], now["batch_stats"]),
    )
    assert not np.array_equal(
        jax.tree.leaves(before["params"]["fusion"])[0],
        jax.tree.leaves(now["params"]["fusion"])[0],
    )
    stopped = state._replace(lr_scale=jnp.zeros(()))
    still, _ = step(stopped, data | {"features": features}, KEY)
    chex.assert_trees_all_equal(still.variables, before)


def test_the_whole_predicts_as_its_stages_do(trained):
    method, _, state, _ = trained
    images = batch()["image"]
    whole = method.predict(state.variables, images)
    joint = method.stages[0].predict(state.variables, images)
    fused = method.stages[1].predict(state.variables, joint.features)
    chex.assert_trees_all_equal(whole.heads, joint.heads)
    chex.assert_trees_all_close(whole.logits, fused.logits, rtol=1e-6)
    assert whole.features["alpha_local"].shape == (4,)
    floats = method.predict(state.variables, images.astype(jnp.float32) / 255)
    chex.assert_trees_all_close(whole.logits, floats.logits, rtol=1e-5)


def test_channels_are_read_in_the_released_order(trained):
    method, _, state, _ = trained
    rgb = make(weighting="uncertainty", channel_order="rgb")
    images = batch()["image"]
    chex.assert_trees_all_equal(
        method.predict(state.variables, images).logits,
        rgb.predict(state.variables, images[..., ::-1]).logits,
    )


def test_each_stage_selects_by_what_its_plateau_follows():
    config = cfnet.default_config()
    config.optim.plateau.metric = "loss"
    config.fusion.optim.plateau.metric = ""
    method = cfnet.create(config, num_classes=3, steps_per_epoch=2)
    assert [s.selection[:2] for s in method.stages] == [
        ("loss", "min"),
        ("accuracy", "max"),
    ]


def test_an_unknown_weighting_is_an_error():
    with pytest.raises(ConfigError, match="weighting"):
        make(weighting="fair")
