"""Where a linear classifier on pooled features looks."""

import jax
import jax.numpy as jnp
import numpy as np


def class_activation_map(features: jax.Array, kernel: jax.Array) -> jax.Array:
    """Each class's score at each place of a feature map.

    M_k(h, w) = sum_c W_ck F_c(h, w)

    Its mean over the places is the logit without the bias, for a classifier that is
    linear in the pooled features. A classifier of the flattened features has weights
    of its own at each place, and their sum is that logit. For EAC as released, stop
    the gradient of the kernel before. Computed in float32 if the inputs are narrower.

    Args:
      features: (B, H, W, C), F, the last feature map.
      kernel: (C, K), W, of the classifier; (H, W, C, K) of one with weights by place.

    Returns:
      (B, H, W, K), at least float32.

    Raises:
      ValueError: the kernel is for other features.

    References:
      Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016,
      class activation mapping.
    """
    if kernel.shape[:-1] not in (features.shape[-1:], features.shape[1:]):
        raise ValueError(
            "expected a kernel (C, K) or (H, W, C, K) for features (B, H, W, C), got "
            f"{kernel.shape} for {features.shape}"
        )
    wide = np.result_type(np.float32, features.dtype, kernel.dtype)
    places = "" if kernel.ndim == 2 else "hw"
    return jnp.einsum(
        f"bhwc,{places}ck->bhwk", features.astype(wide), kernel.astype(wide)
    )
