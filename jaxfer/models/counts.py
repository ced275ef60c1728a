"""Sizes of networks: parameters, and multiply-adds of one image."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.extend import core


def count_parameters(variables: Mapping[str, Any]) -> int:
    """Number of trained values: those of `params`, without batch norm's statistics."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))


def count_multiply_adds(
    module: nn.Module, image_size: Sequence[int], *inputs: Sequence[int]
) -> int:
    """Multiply-adds of convolutions and matrix products for one image, in evaluation.

    Papers print this number as FLOPs or MACs; two floating-point operations are one
    multiply-add. Batch norm, activations and pooling are left out, as is usual. The
    network is traced, not run.

    Args:
      module: applied as `module.apply(variables, images, ...)`.
      image_size: (H, W, C) of one image.
      *inputs: shapes of further inputs, without the batch axis.

    Returns:
      The sum over all convolutions and products. A transposed convolution counts the
      pixels it is given, not the zeros between them.
    """
    examples = [jnp.zeros((1, *shape)) for shape in (image_size, *inputs)]
    variables = jax.eval_shape(module.init, jax.random.key(0), *examples)
    return _of_jaxpr(jax.make_jaxpr(module.apply)(variables, *examples).jaxpr)


def _of_jaxpr(jaxpr: core.Jaxpr) -> int:
    return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: core.JaxprEqn) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "conv_general_dilated":
        kernel, spec = _shape(equation.invars[1]), params["dimension_numbers"]
        each = math.prod(kernel) // kernel[spec.rhs_spec[0]]
        total = math.prod(_shape(equation.outvars[0])) * each
        return total // math.prod(params["lhs_dilation"])
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        left = _shape(equation.invars[0])
        depth = math.prod(left[axis] for axis in contracted)
        return math.prod(_shape(equation.outvars[0])) * depth
    inner = [_of_jaxpr(each) for each in _jaxprs(params)]
    if name == "cond":
        # Forms of the same operation for different devices; where one is written as
        # sums of products, which are not counted, another is a convolution.
        return max(inner)
    return sum(inner) * params.get("length", 1) if name == "scan" else sum(inner)


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape


def _jaxprs(params: Mapping[str, Any]) -> list[core.Jaxpr]:
    """The programs inside an operation, from its parameters."""
    found = []
    for value in params.values():
        for each in value if isinstance(value, tuple | list) else (value,):
            if isinstance(each, core.ClosedJaxpr):
                found.append(each.jaxpr)
            elif isinstance(each, core.Jaxpr):
                found.append(each)
    return found
