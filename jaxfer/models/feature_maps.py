"""The last feature map of a network inside any function, found and taken hold of.

A method's `predict` is a closed function: it prepares the images, applies one network
or several, and tells little of what happened between. Flax calls an interceptor for
every module that it applies, also there; by it a module's output is recorded, and
something is added to it, by which one can differentiate. No network has to know.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from jaxfer.errors import ConfigError
from jaxfer.models.outputs import Outputs

Predict = Callable[[Any, Array], Outputs]
"""(variables, images) -> Outputs."""

Tapped = Callable[[Any, Array, Array | None], tuple[Outputs, Array]]
"""(variables, images, what is added to the map or None) -> outputs, the map."""


def tap(predict: Predict, call: int) -> Tapped:
    """`predict` with the output of one of its module calls laid open.

    Args:
      predict: a function that applies Flax modules.
      call: which of the calls that return a map; see `last_map`.

    Returns:
      A function of (variables, images, offset): the outputs when the offset is added
      to the map, and the map with it.
    """

    def tapped(
        variables: Any, images: Array, offset: Array | None = None
    ) -> tuple[Outputs, Array]:
        with _recording({} if offset is None else {call: offset}) as maps:
            outputs = predict(variables, images)
        return outputs, maps[call]

    return tapped


def last_map(predict: Predict, variables: Any, images: Array) -> int:
    """The number of the module call whose output is the last feature map.

    That is the one returned as `features["map"]`; of a network without, the last
    that is larger than one place and that the logits depend on, which leaves decoders
    out. The latter is a module's output: of a convolution whose activation is a
    function, it is what goes into that.

    Args:
      predict: a function that applies Flax modules.
      variables: its first argument.
      images: its second, an example.

    Raises:
      ConfigError: it applies no module that returns such a map.
    """
    named: list[int] = []
    shapes: list[Any] = []

    def look(variables: Any, images: Array) -> Array:
        with _recording({}) as maps:
            outputs = predict(variables, images)
        shapes.extend(jax.ShapeDtypeStruct(m.shape, m.dtype) for m in maps)
        named.extend(i for i, m in enumerate(maps) if m is outputs.features.get("map"))
        return outputs.logits

    jax.eval_shape(look, variables, images)
    if named:
        return named[-1]

    @jax.jit
    def slopes(variables: Any, images: Array) -> list[Array]:
        def score(offsets: dict[int, Array]) -> Array:
            with _recording(offsets):
                logits = predict(variables, images).logits
            # The plain sum of a balanced classifier's logits may be constant.
            weights = 1 + jnp.arange(logits.shape[-1], dtype=logits.dtype)
            return jnp.sum(jnp.square(logits) * weights[None])

        zeros = {i: jnp.zeros(s.shape, s.dtype) for i, s in enumerate(shapes)}
        return [jnp.any(g != 0) for g in jax.grad(score)(zeros).values()]

    depends = [bool(found) for found in slopes(variables, images)]
    if not any(depends):
        raise ConfigError(
            "Grad-CAM needs a feature map, and this model's logits depend on none:"
            " expected a network of Flax modules with convolutions, found"
            f" {len(shapes)} maps in it."
        )
    return max(i for i, found in enumerate(depends) if found)


@contextmanager
def _recording(offsets: dict[int, Array]) -> Iterator[list[Array]]:
    """The maps that module calls return inside, with `offsets` added to them."""
    maps: list[Array] = []

    def intercept(
        function: Callable[..., Any], args: Any, kwargs: Any, context: Any
    ) -> Any:
        output = function(*args, **kwargs)
        if context.method_name != "__call__" or not _is_map(output):
            return output
        if len(maps) in offsets:
            output = output + offsets[len(maps)]
        maps.append(output)
        return output

    with nn.intercept_methods(intercept):
        yield maps


def _is_map(output: Any) -> bool:
    shape: tuple[int, ...] = getattr(output, "shape", ())
    return len(shape) == 4 and shape[1] * shape[2] > 1
