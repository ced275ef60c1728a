"""Images cut into a grid of patches."""

import einops
import jax


def patches_to_channels(images: jax.Array, grid: int = 7) -> jax.Array:
    """Cut images into grid x grid patches and stack the patches on the channels.

    Channel `col * grid * C + row * C + c` of the result is channel `c` of the patch
    in grid row `row` and grid column `col`: the order of the released code, which
    stacks the horizontal strips first.

    Args:
      images: (B, H, W, C), H and W divisible by `grid`.
      grid: patches per side.

    Returns:
      (B, H / grid, W / grid, grid * grid * C).

    Raises:
      ValueError: the grid does not divide the image.

    References:
      CFNet, Applied Soft Computing 141, 2023, local branch.
    """
    _, height, width, _ = images.shape
    if height % grid or width % grid:
        raise ValueError(
            f"expected images whose sides {grid} divides, got {height}x{width}; "
            "resize the images or choose another grid"
        )
    return einops.rearrange(
        images,
        "b (row h) (col w) c -> b h w (col row c)",
        row=grid,
        col=grid,
    )
