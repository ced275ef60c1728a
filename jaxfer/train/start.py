"""The state that a group of runs begins with."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jax.tree_util import keystr, tree_leaves_with_path, tree_map_with_path

from jaxfer.errors import WeightsError, first_of
from jaxfer.methods.base import State, Variables
from jaxfer.train import selection, sharding
from jaxfer.train.group import Group, Progress
from jaxfer.train.orders import key_data


def lay_over(fresh: Variables, part: Variables) -> Variables:
    """Fresh variables (R, ...) with the leaves of `part` in their places, for all runs.

    Raises:
      WeightsError: the part has leaves that the variables lack, or of other shapes.
    """
    wrong = []
    places = {keystr(path): leaf for path, leaf in tree_leaves_with_path(part)}

    def place(path: Any, leaf: Array) -> Array:
        new = places.pop(keystr(path), None)
        if new is None:
            return leaf
        if new.shape != leaf.shape[1:]:
            wrong.append(f"{keystr(path)}: {new.shape}, expected {leaf.shape[1:]}")
            return leaf
        return jnp.broadcast_to(jnp.asarray(new, leaf.dtype)[None], leaf.shape)

    whole = tree_map_with_path(place, fresh)
    wrong += [f"{name}: the network has no such array" for name in places]
    if wrong:
        raise WeightsError(
            f"the weights to start from do not fit the network: {first_of(wrong)}"
        )
    return whole


def fresh(group: Group, initial: Variables | None) -> Progress:
    """Every run at its first step, from `initial` (R, ...) or as the method begins.

    Raises:
      WeightsError: the method's file of weights cannot be read or does not fit.
    """
    keys = sharding.put(key_data(group.runs), sharding.by_run(group.mesh))
    # Zeros and not the first images: initial values must not depend on data.
    size = group.image_size
    images = np.zeros((1, size, size, 3), np.uint8)

    states = _initializer(group.method.init, group.mesh)(keys, images)
    if initial is not None:
        states = states._replace(
            variables=sharding.put(initial, sharding.by_run(group.mesh))
        )
    elif group.method.pretrained is not None:
        merge = jax.jit(lay_over, out_shardings=sharding.by_run(group.mesh))
        variables = merge(states.variables, group.method.pretrained())
        states = states._replace(variables=variables)
    return Progress(states, tracker(group, states.variables), keys)


@functools.lru_cache(maxsize=4)  # folds in turn share what is compiled
def _initializer(init: Callable, mesh: Mesh) -> Callable[..., State]:
    def one(data: Array, images: Array) -> State:
        key = jax.random.wrap_key_data(data)
        return init(jax.random.fold_in(key, 0), images)

    every = jax.vmap(one, in_axes=(0, None))
    return jax.jit(every, out_shardings=sharding.by_run(mesh))


@functools.lru_cache(maxsize=4)
def stage_keys(mesh: Mesh) -> Callable[..., Array]:
    """A function of the runs' keys and a number: the keys of that stage."""

    def one(data: Array, number: Array) -> Array:
        return jax.random.fold_in(jax.random.wrap_key_data(data), number)

    every = jax.vmap(one, in_axes=(0, None))
    return jax.jit(every, out_shardings=sharding.by_run(mesh))


@functools.lru_cache(maxsize=4)
def beginner(begin: Callable, mesh: Mesh) -> Callable[[Variables], Variables]:
    """`Stage.begin` of every run, into arrays of their own, which can be donated."""

    def one(variables: Variables) -> Variables:
        return jax.tree.map(jnp.copy, begin(variables))

    return jax.jit(jax.vmap(one), out_shardings=sharding.by_run(mesh))


@functools.lru_cache(maxsize=4)
def _tracker_starter(mesh: Mesh) -> Callable[[Variables], selection.Tracker]:
    every = jax.vmap(selection.start)
    return jax.jit(every, out_shardings=sharding.by_run(mesh))


def tracker(group: Group, variables: Variables) -> selection.Tracker:
    """What the rules remember of every run before the first epoch of a stage."""
    return _tracker_starter(group.mesh)(variables)
