"""Optimisers, learning-rate schedules and plateau rules from a config."""

from typing import Any, Literal

import jax
import ml_collections
import optax
import optax.contrib
from jax import Array

from jaxfer.errors import ConfigError
from jaxfer.methods.base import Plateau, Selection


def create_schedule(
    optim: ml_collections.ConfigDict, *, epochs: int, steps_per_epoch: int
) -> optax.Schedule:
    """Step -> learning rate, by `optim.schedule` (in epochs) with linear warm-up.

    Milestones and decays count from the start of training, warm-up included; the
    cosine spans what the warm-up leaves.
    """
    rate, steps = float(optim.learning_rate), max(1, steps_per_epoch)
    warmup = round(optim.warmup_epochs * steps)
    match optim.schedule:
        case "constant":
            schedule = optax.constant_schedule(rate)
        case "cosine":
            schedule = optax.cosine_decay_schedule(
                rate, max(1, epochs * steps - warmup), alpha=optim.floor
            )
        case "exponential":
            schedule = optax.exponential_decay(rate, steps, optim.decay, staircase=True)
        case "step":
            schedule = optax.piecewise_constant_schedule(
                rate, {int(m) * steps: float(optim.decay) for m in optim.milestones}
            )
        case other:
            raise ConfigError(f"unknown optim.schedule {other!r}")
    if not warmup:
        return schedule
    ramp = optax.linear_schedule(0.0, rate, warmup)
    if optim.schedule == "cosine":
        return optax.join_schedules([ramp, schedule], [warmup])
    # Joined schedules each count from zero.
    return optax.join_schedules([ramp, lambda t: schedule(t + warmup)], [warmup])


def create_optimizer(
    optim: ml_collections.ConfigDict, *, epochs: int, steps_per_epoch: int
) -> optax.GradientTransformation:
    """The optimiser of `optim.name` with its schedule, decay and clipping.

    `weight_decay` is an L2 term in the gradient, as in PyTorch's SGD and Adam;
    for adamw and muon it is decoupled. Nadam is Dozat's without the momentum schedule
    that Keras adds (momentum 0.9 * (1 - 0.5 * 0.96 ** (0.004 t))).

    Muon (Jordan, 2024) steps along the momentum of each convolution over channels,
    made orthogonal, at Adam's size (its root mean square is 0.2 of the rate; Liu et
    al., Muon is scalable for LLM training, 2025), and on all else by AdamW with
    Nesterov's momentum. `momentum` and `b2` are AdamW's; that of the kernels is 0.95.

    With `sam_radius` the step is taken with the gradient at the parameters moved by
    that much along the normalised gradient (Foret et al., Sharpness-Aware
    Minimization, ICLR 2021), two gradients a step; the optimiser must be given
    `grad_fn`, as `common.gradient_step` does.
    """
    rate = create_schedule(optim, epochs=epochs, steps_per_epoch=steps_per_epoch)
    b1, b2 = optim.momentum, optim.b2
    parts = [optax.clip_by_global_norm(optim.clip_norm)] if optim.clip_norm else []
    if optim.weight_decay and optim.name not in ("adamw", "muon"):
        parts.append(optax.add_decayed_weights(optim.weight_decay))
    match optim.name:
        case "nadam":
            parts.append(optax.nadam(rate, b1=b1, b2=b2))
        case "adam":
            parts.append(optax.adam(rate, b1=b1, b2=b2))
        case "adamw":
            decay = optim.weight_decay
            parts.append(optax.adamw(rate, b1=b1, b2=b2, weight_decay=decay))
        case "muon":
            decay = optim.weight_decay
            parts.append(
                optax.contrib.muon(
                    rate,
                    weight_decay=decay,
                    adam_b1=b1,
                    adam_b2=b2,
                    adam_weight_decay=decay,
                    consistent_rms=0.2,
                    muon_weight_dimension_numbers=_matrices,
                )
            )
        case "sgd":
            parts.append(optax.sgd(rate, momentum=b1 or None))
        case other:
            raise ConfigError(f"unknown optim.name {other!r}")
    optimizer = optax.chain(*parts)
    if not optim.sam_radius:
        return optimizer
    ascent = optax.chain(optax.contrib.normalize(), optax.sgd(optim.sam_radius))
    return optax.contrib.sam(optimizer, ascent, sync_period=2, opaque_mode=True)


def _matrices(params: Any) -> Any:
    """Which parameters Muon takes for matrices: kernels of convolutions over channels.

    Those of depthwise convolutions mix none. Matrices of dense layers are left to
    AdamW: most are classifiers or class centres, whose columns belong to classes.
    """

    def one(param: Array) -> optax.contrib.MuonDimensionNumbers | None:
        if param.ndim < 3 or param.shape[-2] == 1:
            return None
        inputs = tuple(range(param.ndim - 1))
        return optax.contrib.MuonDimensionNumbers(inputs, param.ndim - 1)

    return jax.tree.map(one, params)


def best_is(metric: str) -> Literal["max", "min"]:
    """Whether the largest or the smallest value of `[head/]metric` is best."""
    return "min" if metric.rsplit("/", 1)[-1] in ("loss", "ece") else "max"


def create_selection(optim: ml_collections.ConfigDict) -> Selection:
    """Choose epochs by what the plateau rule follows; by accuracy without one."""
    metric = optim.plateau.metric or "accuracy"
    return Selection(metric, best_is(metric))


def create_plateau(optim: ml_collections.ConfigDict) -> Plateau | None:
    """The plateau rule of `optim.plateau`, or None where its metric is empty."""
    p = optim.plateau
    if not p.metric:
        return None
    return Plateau(p.metric, best_is(p.metric), p.factor, p.patience, p.min_delta)
