"""Compiling for tests."""

import jax

QUICK = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
"""Compiles in a fifth of the time; convolutions are calls and stay fast."""


def once(function):
    """`jax.jit` for a program that runs once or twice."""
    return jax.jit(function, compiler_options=QUICK)
