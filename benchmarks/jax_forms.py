"""Training steps and answers in JAX: jaxfer's operations, or plain lax."""

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from benchmarks import cases, plain
from benchmarks.cases import Case
from jaxfer import losses, models, ops
from jaxfer.models.fuse import deployed

Step = Callable[[Any, dict], tuple[Any, jax.Array]]


class Program:
    """A compiled program that is called again and again."""

    def __init__(self, case: Case, folds: int = 0):
        """Build, fill and compile; `folds` trains so many networks at once."""
        networks = create(case)
        variables = {
            name: filled(network, example(case, name), name)
            for name, network in networks.items()
        }
        self.parameters = sum(
            x.size for x in jax.tree.leaves(variables["network"]["params"])
        )
        batch = cases.batch(case)
        if case.task in ("latency", "throughput"):
            function, state = answer(case, networks, variables)
            donated: tuple[int, ...] = ()
        else:
            function, state = train(case, networks, variables)
            donated = (0,)
        if folds:
            state, batch = (repeated(folds, tree) for tree in (state, batch))
            function = jax.vmap(function)
        self.state, self.batch = jax.device_put((state, batch))
        jax.block_until_ready((self.state, self.batch))
        self.trains = bool(donated)
        how = plain.operations() if case.form == "plain" else contextlib.nullcontext()
        with how:
            start = time.perf_counter()
            lowered = jax.jit(function, donate_argnums=donated).lower(
                self.state, self.batch
            )
            self.compiled = lowered.compile()
            self.compile_s = time.perf_counter() - start
        self.flops = float((lowered.cost_analysis() or {}).get("flops", 0)) or None

    def call(self) -> list[float]:
        """Run once, to the end; the loss, or the first image's scores."""
        return [float(x) for x in np.asarray(self.run()).reshape(-1)]

    def run(self) -> jax.Array:
        """Run once, until the device is done."""
        result = self.start()
        jax.block_until_ready((self.state, result))
        return result

    def start(self) -> jax.Array:
        """Run once, without waiting."""
        if not self.trains:
            return self.compiled(self.state, self.batch)
        self.state, loss = self.compiled(self.state, self.batch)
        return loss


def peak_bytes() -> int | None:
    """Of the accelerator's memory."""
    statistics = jax.devices()[0].memory_stats() or {}
    return statistics.get("peak_bytes_in_use")


def describe() -> str:
    return f"jax {jax.__version__}, {jax.devices()[0].device_kind}"


def create(case: Case) -> dict[str, nn.Module]:
    """The networks of a system, by their part in it."""
    dtype = jnp.dtype(case.precision)
    options: dict[str, Any] = {"width": case.width, "dtype": dtype}
    if case.system == "lfnsb":
        options["depth"] = case.depth
    name, _, backbone = case.system.partition("_")
    if backbone:
        options["backbone"] = backbone
    networks = {"network": models.create(name, case.classes, **options)}
    if case.system == "fersnet" and case.task not in ("latency", "throughput"):
        networks["judge"] = models.create(
            "fersnet_discriminator", case.classes, width=case.width, dtype=dtype
        )
        networks["light"] = models.create("lightcnn9", 0, dtype=dtype)
    return networks


def example(case: Case, part: str) -> tuple[jax.ShapeDtypeStruct, ...]:
    """What a network is called with."""
    side = (1, case.size, case.size)
    images = jax.ShapeDtypeStruct((*side, 1 if part == "light" else 3), jnp.float32)
    target = jax.ShapeDtypeStruct((1, case.classes), jnp.float32)
    return (images, target) if part == "judge" else (images,)


def filled(network: nn.Module, inputs: tuple, prefix: str) -> dict:
    """Variables with the values that every framework gets."""
    shapes = jax.eval_shape(network.init, jax.random.key(0), *inputs)

    def value(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        names = [prefix, *(str(key.key) for key in path[1:])]
        return cases.weight("/".join(names), leaf.shape)

    return jax.tree_util.tree_map_with_path(value, shapes)


def repeated(folds: int, tree: Any) -> Any:
    return jax.tree.map(lambda x: np.stack([np.asarray(x)] * folds), tree)


def answer(
    case: Case, networks: Mapping[str, nn.Module], variables: Mapping[str, dict]
) -> tuple[Callable, dict]:
    """Class scores as they are deployed: batch norm folded where that is possible.

    CFNet answers with its three heads, the others with one; FERSNet recognises.
    """
    network, state = networks["network"], variables["network"]
    if case.form == "ours":
        network, fold = deployed(network)
        state = fold(state)

    def predict(state: dict, batch: dict) -> jax.Array:
        outputs = network.apply(state, batch["images"])
        if case.system == "cfnet":
            return jnp.stack([outputs.heads[n] for n in ("local", "global", "fused")])
        return outputs.logits

    return predict, state


def train(
    case: Case, networks: Mapping[str, nn.Module], variables: Mapping[str, dict]
) -> tuple[Step, dict]:
    """(state, batch) -> (state, loss), one step of SGD; and the first state."""
    optimizer = optax.sgd(cases.LEARNING_RATE, momentum=cases.MOMENTUM)
    params, stats = (variables["network"][n] for n in ("params", "batch_stats"))
    trained = {"network": params}
    if case.system == "lfnsb":
        channels = params["backbone"]["conv6"]["bn"]["bias"].shape[0]
        trained["centers"] = cases.weight("centers", (case.classes, channels))
    state = {"params": trained, "stats": stats, "moments": optimizer.init(trained)}
    if case.system == "fersnet":
        judge = variables["judge"]["params"]
        state["judge"] = {"params": judge, "moments": optimizer.init(judge)}
        state["light"] = variables["light"]

    def updated(part: dict, gradient: Any) -> dict:
        update, moments = optimizer.update(gradient, part["moments"])
        params = optax.apply_updates(part["params"], update)
        return {**part, "params": params, "moments": moments}

    def step(state: dict, batch: dict) -> tuple[dict, jax.Array]:
        if case.system == "fersnet":
            state = judged(networks, state, batch, updated)

        def objective(params: dict) -> tuple[jax.Array, Any]:
            run = Views(networks["network"], params["network"], state["stats"])
            loss = objectives[case.system](run, params, batch, state, networks)
            return loss, run.stats

        gradient, (loss, stats) = _grad(objective)(state["params"])
        return {**updated(state, gradient), "stats": stats}, loss

    return step, state


def _grad(objective: Callable) -> Callable:
    def both(params: Any) -> tuple[Any, tuple]:
        (loss, aux), gradient = jax.value_and_grad(objective, has_aux=True)(params)
        return gradient, (loss, aux)

    return both


class Views:
    """A network in training; each call moves its running statistics."""

    def __init__(self, network: nn.Module, params: dict, stats: dict):
        self.network, self.params, self.stats = network, params, stats

    def __call__(self, *inputs: jax.Array) -> models.Outputs:
        variables = {"params": self.params, "batch_stats": self.stats}
        outputs, updated = self.network.apply(
            variables, *inputs, train=True, mutable=["batch_stats"]
        )
        self.stats = updated["batch_stats"]
        return outputs


def cfnet_loss(run: Views, params: dict, batch: dict, *_: Any) -> jax.Array:
    heads = run(batch["images"]).heads
    parts = {n: losses.cross_entropy(x, batch["labels"]) for n, x in heads.items()}
    return jnp.mean(losses.multi_task(parts))


def eac_loss(run: Views, params: dict, batch: dict, *_: Any) -> jax.Array:
    first, second = run(batch["images"]), run(batch["images"][:, :, ::-1])
    maps = (outputs.maps["attention"] for outputs in (first, second))
    classes = losses.cross_entropy(first.logits, batch["labels"])
    return jnp.mean(classes + 5.0 * losses.attention_consistency(*maps))


def lfnsb_loss(run: Views, params: dict, batch: dict, *_: Any) -> jax.Array:
    outputs = run(batch["images"])
    classes = losses.cross_entropy(outputs.logits, batch["labels"])
    pooled = outputs.features["pooled"].astype(jnp.float32)
    harmony = losses.cosine_harmony(pooled, batch["labels"], params["centers"])
    return jnp.mean(classes) + harmony


def fersnet_loss(
    run: Views, params: dict, batch: dict, state: dict, networks: Mapping
) -> jax.Array:
    """The released loss: there and back, identity, realism, recognition."""
    outputs = run(batch["images"], batch["target"])
    drawn = outputs.images["synthesised"]
    back = run(drawn, batch["source"]).images["synthesised"]
    grey, real = (ops.grayscale(x, "bgr") for x in (drawn, batch["faces"]))

    def light(x: jax.Array) -> jax.Array:
        return networks["light"].apply(state["light"], x).features["map"]

    judge = {"params": state["judge"]["params"]}
    scores = networks["judge"].apply(judge, drawn, batch["target"])
    parts = (
        losses.cross_entropy(outputs.logits, batch["labels"])
        + losses.reconstruction(grey, real)
        + 0.05 * losses.identity(light(grey), light(real))
        + 0.3 * losses.least_squares_generator(scores.maps["validity"])
        + 0.5 * losses.cycle(batch["images"], back)
    )
    return jnp.mean(parts)


def judged(
    networks: Mapping, state: dict, batch: dict, updated: Callable[[dict, Any], dict]
) -> dict:
    """Three steps of the discriminator, on faces drawn in evaluation mode."""
    variables = {"params": state["params"]["network"], "batch_stats": state["stats"]}
    drawn = networks["network"].apply(variables, batch["images"], batch["target"])
    fake = drawn.images["synthesised"]

    def objective(params: dict) -> jax.Array:
        real_map, fake_map = (
            networks["judge"].apply({"params": params}, x, batch["target"])
            for x in (batch["faces"], fake)
        )
        loss = losses.least_squares_discriminator(
            real_map.maps["validity"], fake_map.maps["validity"]
        )
        return jnp.mean(loss)

    judge = state["judge"]
    for _ in range(3):
        judge = updated(judge, jax.grad(objective)(judge["params"]))
    return {**state, "judge": judge}


objectives: dict[str, Callable[..., jax.Array]] = {
    "cfnet": cfnet_loss,
    "eac_resnet50": eac_loss,
    "eac_mobilenet_v2": eac_loss,
    "lfnsb": lfnsb_loss,
    "fersnet": fersnet_loss,
}
