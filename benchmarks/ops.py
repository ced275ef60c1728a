"""Time jaxfer's operations against plain lax on this machine.

    python -m benchmarks.ops [--short] [--rounds N] [--only TEXT] [--flag]

Each row is one operation at a shape that a model of the toolkit has; the two forms
run in turn, so that other work on the machine disturbs both. A ratio near 1 says
that the fast form has nothing left to gain with this jaxlib and can be deleted.
`--flag` keeps convolutions from YNNPACK, as the launcher does; `--short` takes tiny
shapes and one round, to check that everything runs.
"""

import argparse
import functools
import os
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

FLAG = "--xla_cpu_experimental_ynn_fusion_type=-individual_convolution"


class Case(NamedTuple):
    """Two programs that should agree, and arguments for both."""

    name: str
    plain: Callable
    ours: Callable
    arguments: tuple


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="tiny shapes, one round")
    parser.add_argument("--rounds", type=int, default=5, help="measurements per form")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--flag", action="store_true", help="set XLA's flag first")
    options = parser.parse_args()
    if options.flag:  # XLA reads its flags once, when its backend starts
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAG}"

    import jax

    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}")
    print(f"{os.cpu_count()} CPUs, XLA_FLAGS={os.environ.get('XLA_FLAGS', '')!r}")
    print(f"{'operation':58}{'lax ms':>9}{'ours ms':>9}{'ratio':>7}")
    for case in cases(4 if options.short else 1):
        if options.only in case.name:
            plain, ours = measure(case, 1 if options.short else options.rounds)
            print(
                f"{case.name:58}{plain:9.1f}{ours:9.1f}{plain / ours:7.2f}", flush=True
            )


def measure(case: Case, rounds: int) -> tuple[float, float]:
    """Least milliseconds of each form, after checking that the results agree."""
    import jax
    import numpy as np

    programs = [
        jax.jit(form).lower(*case.arguments).compile()
        for form in (case.plain, case.ours)
    ]
    expected, found = (
        jax.tree.leaves(program(*case.arguments)) for program in programs
    )
    for a, b in zip(expected, found, strict=True):
        scale = float(np.abs(a).max()) or 1.0
        np.testing.assert_allclose(b, a, atol=1e-4 * scale, rtol=0, err_msg=case.name)
    times: list[list[float]] = [[], []]
    for _ in range(rounds):
        for program, taken in zip(programs, times, strict=True):
            start = time.perf_counter()
            jax.block_until_ready(program(*case.arguments))
            taken.append(1e3 * (time.perf_counter() - start))
    return min(times[0]), min(times[1])


def cases(shrink: int) -> Iterator[Case]:
    """All rows; sizes and channels divided by `shrink`."""
    yield from convolutions(shrink)
    yield from depthwise_convolutions(shrink)
    yield from repeated_convolutions(shrink)
    yield from poolings(shrink)
    yield from batch_norms(shrink)


def draw(*shape: int):
    """Normal numbers of a fixed seed."""
    import jax.numpy as jnp
    import numpy as np

    values = np.random.default_rng(len(shape)).standard_normal(shape, np.float32)
    return jnp.asarray(values)


def plain_conv(x, kernel, strides: int = 1, groups: int = 1):
    """The same convolution in lax."""
    from jax import lax

    return lax.conv_general_dilated(
        x,
        kernel,
        (strides, strides),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def our_conv(x, kernel, strides: int = 1, groups: int = 1):
    """The convolution of `jaxfer.ops`."""
    from jaxfer import ops

    return ops.conv(x, kernel, strides=strides, groups=groups)


def parts(name: str, x, kernel, strides: int, groups: int = 1) -> Iterator[Case]:
    """Forward pass, input gradient and kernel gradient of one convolution."""
    import jax

    plain = functools.partial(plain_conv, strides=strides, groups=groups)
    ours = functools.partial(our_conv, strides=strides, groups=groups)
    g = draw(*jax.eval_shape(plain, x, kernel).shape)

    def input_gradient(conv: Callable) -> Callable:
        return lambda kernel, g: jax.vjp(lambda x: conv(x, kernel), x)[1](g)[0]

    def kernel_gradient(conv: Callable) -> Callable:
        return lambda x, g: jax.vjp(lambda kernel: conv(x, kernel), kernel)[1](g)[0]

    yield Case(f"{name} forward", plain, ours, (x, kernel))
    if x.shape[3] > 3:  # nobody asks for the gradient of an image
        forms = input_gradient(plain), input_gradient(ours)
        yield Case(f"{name} input gradient", *forms, (kernel, g))
    forms = kernel_gradient(plain), kernel_gradient(ours)
    yield Case(f"{name} kernel gradient", *forms, (x, g))


def convolutions(shrink: int) -> Iterator[Case]:
    """(batch, size, channels in, window, stride, channels out)."""
    for system, b, n, c, k, s, o in (
        ("CFNet global 1a", 8, 224, 3, 7, 1, 64),
        ("CFNet global 1b", 8, 112, 64, 3, 1, 64),
        ("CFNet global 3", 16, 56, 128, 3, 1, 256),
        ("CFNet local 1a", 16, 32, 147, 7, 1, 128),
        ("CFNet local 4", 16, 4, 512, 3, 1, 512),
        ("ResNet-50 stem", 16, 224, 3, 7, 2, 64),
        ("ResNet-50 3x3", 16, 28, 128, 3, 1, 128),
        ("ResNet-50 3x3", 16, 28, 256, 3, 2, 256),
        ("ResNet-50 1x1", 16, 56, 64, 1, 1, 256),
        ("ResNet-50 1x1", 16, 28, 512, 1, 2, 1024),
        ("ResNet-18 last, of small faces", 64, 2, 512, 3, 1, 512),
    ):
        c, o, n = max(c // shrink, 3), o // shrink, max(n // shrink, 1)
        name = f"{system} {b}x{n}x{n}x{c} k{k} s{s} to {o}"
        yield from parts(name, draw(b, n, n, c), draw(k, k, c, o), s)


def depthwise_convolutions(shrink: int) -> Iterator[Case]:
    """Depthwise convolutions of LFNSB and MobileNetV2."""
    for system, b, n, c, k, s in (
        ("LFNSB", 16, 56, 64, 3, 1),
        ("LFNSB", 16, 14, 256, 7, 2),
        ("MobileNetV2", 16, 112, 96, 3, 2),
        ("MobileNetV2", 16, 14, 576, 3, 1),
    ):
        c, n = c // shrink, n // shrink * 2 if shrink > 1 else n
        name = f"{system} depthwise {b}x{n}x{n}x{c} k{k} s{s}"
        yield from parts(name, draw(b, n, n, c), draw(k, k, 1, c), s, groups=c)


def repeated_convolutions(shrink: int) -> Iterator[Case]:
    """Gradients of several runs at once, and of several steps in one program."""
    import jax
    import jax.numpy as jnp
    from jax import lax

    def gradients(conv: Callable) -> Callable:
        return jax.grad(lambda k, x: jnp.sum(jnp.sin(conv(x, k))))

    def steps(conv: Callable) -> Callable:
        def step(kernel, x):
            return kernel - 1e-6 * gradients(conv)(kernel, x), None

        return lambda kernel, x: lax.scan(step, kernel, x)[0]

    for r, b, n, c, k, o in (
        (5, 16, 32, 32, 3, 64),
        (10, 8, 16, 64, 3, 128),
        (5, 16, 16, 64, 1, 128),
    ):
        c, o, n = c // shrink, o // shrink, n // shrink
        name = f"{r} runs at once {b}x{n}x{n}x{c} k{k} to {o}"
        arguments = draw(r, k, k, c, o), draw(r, b, n, n, c)
        forms = (jax.vmap(gradients(conv)) for conv in (plain_conv, our_conv))
        yield Case(f"{name} gradient", *forms, arguments)
    r, b, n, c, o = 4, 8, 16 // shrink, 32 // shrink, 32 // shrink
    name = f"{r} steps in a scan {b}x{n}x{n}x{c} k3 to {o}"
    arguments = draw(3, 3, c, o), draw(r, b, n, n, c)
    yield Case(name, *(steps(conv) for conv in (plain_conv, our_conv)), arguments)


def poolings(shrink: int) -> Iterator[Case]:
    """Max pools of CFNet and FERSNet."""
    import jax
    import jax.numpy as jnp
    from jax import lax

    from jaxfer import ops

    def plain(window: int, strides: int) -> Callable:
        sizes = (1, window, window, 1), (1, strides, strides, 1), "SAME"
        return lambda x: lax.reduce_window(x, -jnp.inf, lax.max, *sizes)

    def ours(window: int, strides: int) -> Callable:
        return lambda x: ops.max_pool(x, window, strides=strides)

    def both(pool: Callable) -> Callable:
        return jax.value_and_grad(lambda x, g: jnp.vdot(pool(x), g))

    for b, n, c, k, s in (
        (8, 112, 64, 3, 1),
        (8, 112, 64, 3, 2),
        (16, 32, 128, 3, 2),
        (16, 48, 64, 2, 2),
    ):
        c, n = c // shrink, n // shrink
        name, x = f"max pool {b}x{n}x{n}x{c} k{k} s{s}", draw(b, n, n, c)
        forms = plain(k, s), ours(k, s)
        g = draw(*jax.eval_shape(forms[0], x).shape)
        yield Case(f"{name} forward", *forms, (x,))
        yield Case(f"{name} and gradient", *map(both, forms), (x, g))


def batch_norms(shrink: int) -> Iterator[Case]:
    """Batch norm in training, value and gradient."""
    import jax
    import jax.numpy as jnp

    from jaxfer import ops

    def plain(x, scale, bias):
        mean = jnp.mean(x, (0, 1, 2), keepdims=True)
        var = jnp.var(x, (0, 1, 2), keepdims=True)
        shape = (1, 1, 1, -1)
        z = (x - mean) * jax.lax.rsqrt(var + 1e-5)
        return z * scale.reshape(shape) + bias.reshape(shape)

    def ours(x, scale, bias):
        return ops.batch_norm(x, scale, bias, epsilon=1e-5)[0]

    def both(norm: Callable) -> Callable:
        return jax.value_and_grad(
            lambda x, s, b, g: jnp.vdot(norm(x, s, b), g), (0, 1, 2)
        )

    for b, n, c in ((16, 112, 64), (16, 28, 256), (16, 7, 512)):
        c, n = c // shrink, max(n // shrink, 2)
        x = draw(b, n, n, c)
        name = f"batch norm {b}x{n}x{n}x{c} and gradient"
        yield Case(name, both(plain), both(ours), (x, draw(c), draw(c), jnp.cos(x)))


if __name__ == "__main__":
    main()
