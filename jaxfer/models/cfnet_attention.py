"""CFNet's global head, class by class, on the face: for EAC's consistency."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jax import lax

from jaxfer import ops

GLOBAL_LAYERS = (
    *("global_dense", "shared_dense_1", "shared_dense_2"),
    *("global_dense_1", "global_dense_2"),
)
"""Hidden layers between the global branch and its head, of either kind of heads."""


def global_attention(params: Mapping[str, Any], features: jax.Array) -> jax.Array:
    """Where the global head of a `CFNet` looks, class by class.

    M_k(h, w) = sum_c dz_k / dg_c F_c(h, w)

    with the head's logits z, the feature map F and its mean g: a class activation map
    whose kernel is the head's slope at that image, held fixed. Of a linear head that
    is its kernel.

    Args:
      params: of a `CFNet`.
      features: (B, h, w, C), its `maps["global"]`.

    Returns:
      (B, h, w, K), at least float32; gradients reach the features alone.
    """
    hidden = [name for name in GLOBAL_LAYERS if name in params]

    def scores(pooled: jax.Array) -> jax.Array:
        for name in hidden:
            layer = params[name]
            pooled = nn.relu(pooled @ layer["kernel"] + layer["bias"])
        return pooled @ params["global_logits"]["kernel"]

    wide = features.astype(np.result_type(features.dtype, np.float32))
    pooled = lax.stop_gradient(ops.global_avg_pool(wide))
    slopes = jax.vmap(jax.jacrev(scores))(pooled)
    kernels = lax.stop_gradient(slopes).transpose(0, 2, 1)
    return jax.vmap(lambda one, kernel: ops.class_activation_map(one[None], kernel)[0])(
        wide, kernels
    )
