"""What train steps of different methods share."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax
from flax import linen as nn
from jax import Array

from jaxfer import losses, ops, weights
from jaxfer.errors import WeightsError
from jaxfer.methods.base import Metrics, State
from jaxfer.weights import model_file


def to_float(images: Array) -> Array:
    """Images in [0, 1] as float32: uint8 is divided by 255, floats pass through."""
    if images.dtype == jnp.uint8:
        return images.astype(jnp.float32) / 255
    return images.astype(jnp.float32)


def scaled(images: Array, size: int, *, grey: bool) -> Array:
    """Images of the side that a network takes.

    Args:
      images: (B, H, W, 3), uint8 or in [0, 1].
      size: pixels of the sides of what is returned.
      grey: whether colours are taken away (`ops.grayscale`): a network that has seen
        grey images alone answers at random to what colours do to its channels.

    Returns:
      float32 (B, size, size, 3), in [0, 1].
    """
    images = ops.resize(to_float(images), size)
    if not grey:
        return images
    return jnp.broadcast_to(ops.grayscale(images), images.shape)


def augment(
    key: Array,
    images: Array,
    options: ml_collections.ConfigDict,
    *,
    fill: float | tuple[float, ...] = 0.0,
) -> Array:
    """The random changes that `config.augment` asks for; `mixup` is the caller's.

    Args:
      key: PRNG key.
      images: (B, H, W, C), float in [0, 1].
      options: `config.augment`.
      fill: what random erasing writes; one number, or one a channel.

    Returns:
      (B, H, W, C), in [0, 1].
    """
    *posing, k_noise, k_erase = jax.random.split(key, 5)
    images = _posed(posing, images, options)
    if options.noise:
        images = ops.random_noise(
            k_noise,
            images,
            variance=options.noise,
            probability=options.noise_probability,
        )
    return _erased(k_erase, images, options, fill)


def mirrored(
    key: Array,
    erase_key: Array,
    images: Array,
    options: ml_collections.ConfigDict,
    *,
    fill: float | tuple[float, ...] = 0.0,
) -> Array:
    """The independent second view: what `augment` makes of `key`, as in a mirror.

    Geometry and light are the same, left and right exchanged, so that places of the
    two views correspond; there is no pixel noise, and the erasing is its own.

    Args:
      key: the PRNG key that `augment` was given.
      erase_key: PRNG key of this view's erasing.
      images: (B, H, W, C), float in [0, 1], the same as `augment` was given.
      options: `config.augment`.
      fill: what random erasing writes; one number, or one a channel.

    Returns:
      (B, H, W, C), in [0, 1].
    """
    *posing, _, _ = jax.random.split(key, 5)
    seen = _posed(posing, images, options)[:, :, ::-1]
    return _erased(erase_key, seen, options, fill)


def _posed(
    keys: Sequence[Array], images: Array, options: ml_collections.ConfigDict
) -> Array:
    k_flip, k_affine, k_light = keys
    if options.flip:
        images = ops.random_flip(k_flip, images)
    zoom = tuple(options.zoom)
    if options.rotate or options.translate or options.shear or zoom != (1.0, 1.0):
        images = ops.random_affine(
            k_affine,
            images,
            degrees=options.rotate,
            translate=options.translate,
            zoom=zoom,
            shear=options.shear,
            probability=options.geometric,
        )
    if options.brightness or options.contrast:
        images = ops.random_light(
            k_light,
            images,
            brightness=options.brightness,
            contrast=options.contrast,
        )
    policy = options.get("policy", "")  # a field of some methods alone
    if policy:
        # Of a key that has another use, so that recipes without one draw as before.
        k_policy = jax.random.fold_in(k_light, 1)
        images = _by_policy(policy, k_policy, images, options)
    return images


def _by_policy(
    policy: str, key: Array, images: Array, options: ml_collections.ConfigDict
) -> Array:
    strength = options.policy_magnitude
    if policy == "trivial_augment":
        return ops.trivial_augment(key, images, magnitude=strength)
    number = options.policy_ops
    return ops.rand_augment(key, images, num_ops=number, magnitude=strength)


def _erased(
    key: Array,
    images: Array,
    options: ml_collections.ConfigDict,
    fill: float | tuple[float, ...],
) -> Array:
    if not options.erase:
        return images
    return ops.random_erasing(
        key,
        images,
        probability=options.erase,
        area=tuple(options.erase_area),
        value=fill,
    )


def read_initial(
    path: str,
    official: Callable[[weights.Arrays], Any] | None,
    trunk: str | None,
    *,
    batch_norm: bool = True,
) -> Any:
    """The network's variables, or a part of them, from a file of weights.

    Args:
      path: a file that `jaxfer export` wrote, of which the `trunk` is taken; or any
        that `jaxfer.weights.load_file` reads.
      official: arrays by name -> variables, for the latter.
      trunk: the name of a part of the network; None takes all of it.
      batch_norm: whether that part has batch norm, so that a file without its
        statistics has it folded away.

    Raises:
      WeightsError: it cannot be read, or holds no such part.
    """
    if path.endswith(model_file.SUFFIX) and model_file.is_ours(path):
        found, _ = model_file.read(path)
        part = found
        if trunk is not None:
            part = {kind: {trunk: t[trunk]} for kind, t in found.items() if trunk in t}
        if "params" not in part:
            raise WeightsError(
                f"{path} holds no {trunk!r}: expected a file of a model with the same"
                f" trunk; found {', '.join(found.get('params', {}))}"
            )
        if batch_norm and "batch_stats" not in part:
            raise WeightsError(
                f"{path} holds a model with batch norm folded away, which cannot be"
                " trained: export the run again with --trainable"
            )
        return part
    if official is None:
        raise WeightsError(
            f"{path}: no released weights are known for this method, or for all of its"
            " network; expected a file that `jaxfer export --trainable` wrote"
        )
    with weights.naming(path):
        return official(weights.load_file(path))


def check_initial(path: str, network: nn.Module, part: Any, *inputs: Array) -> None:
    """Check that variables from a file have places in a network.

    Args:
      path: of the file, for messages.
      network: that they are for.
      part: of the network's variables.
      *inputs: what it is applied to, of which the shapes count.

    Raises:
      WeightsError: they are of another network, or of another size.
    """
    like = jax.eval_shape(network.init, jax.random.key(0), *inputs)
    with weights.naming(path):
        weights.check_fits(like, part)


def gradient_step(
    loss_fn: Callable[[Any], tuple[Array, Any]],
    optimizer: optax.GradientTransformation,
    params: Any,
    opt_state: Any,
    lr_scale: Array,
) -> tuple[Any, Any, Any]:
    """One optimiser step on `loss_fn(params) -> (scalar, aux)`.

    Scaling the updates by `lr_scale` equals scaling the learning rate, since
    every chain of `jaxfer.methods.optimizers` ends with that factor.

    Returns:
      (params, opt_state, aux).
    """
    grads, aux = jax.grad(loss_fn, has_aux=True)(params)
    optimizer = optax.with_extra_args_support(optimizer)
    # Optax raises a float to an integer count, which strict promotion refuses.
    with jax.numpy_dtype_promotion("standard"):
        updates, opt_state = optimizer.update(
            grads,
            opt_state,
            params,
            grad_fn=lambda p, _: jax.grad(loss_fn, has_aux=True)(p)[0],
        )
    updates = jax.tree.map(lambda u: u * lr_scale.astype(u.dtype), updates)
    return optax.apply_updates(params, updates), opt_state, aux


def classification_metrics(
    objective: Array, heads: dict[str, Array], labels: Array
) -> Metrics:
    """Objective, cross-entropies and accuracies of one batch as (sum, count).

    `loss` and `accuracy` mean what they mean in `jaxfer.metrics.compute`, so that
    the figures of the training part stand beside those of the others: `loss` is
    the cross-entropy of the decision and the labels, whatever is minimised.

    Args:
      objective: (B,), what the step minimises.
      heads: logits (B, K) by name; the name "" is the decision.
      labels: int32 (B,).
    """
    count = jnp.asarray(objective.shape[0], jnp.float32)
    values = {"objective": objective}
    for name, logits in heads.items():
        prefix = f"{name}/" if name else ""
        logits = logits.astype(jnp.float32)
        right = jnp.argmax(logits, axis=-1) == labels
        values[f"{prefix}loss"] = losses.cross_entropy(logits, labels)
        values[f"{prefix}accuracy"] = right
    return {
        name: (jnp.sum(value.astype(jnp.float32)), count)
        for name, value in values.items()
    }


def start(variables: Any, opt_state: dict[str, Any]) -> State:
    """The state before the first step."""
    return State(
        step=jnp.zeros((), jnp.int32),
        variables=variables,
        opt_state=opt_state,
        lr_scale=jnp.ones((), jnp.float32),
    )
