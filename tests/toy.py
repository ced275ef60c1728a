"""A method and a data set small enough to train in milliseconds; CFNet on that."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxfer import data as datasets
from jaxfer import losses, methods
from jaxfer.config import base_config
from jaxfer.data import Dataset
from jaxfer.data.dataset import Table
from jaxfer.methods import Method, Pass, Plateau, Selection, Stage, cfnet, common
from jaxfer.models import Outputs

CLASSES = ("left", "middle", "right")


class Records(list):
    """A list that reads like the shards of a prepared data set."""

    def __getitems__(self, rows):
        return [self[row] for row in rows]


def dataset(count=60, size=8, classes=CLASSES, seed=0):
    """Images with a bright column that tells the class; ten people in turn."""
    rng = np.random.default_rng(seed)
    label = (np.arange(count) % len(classes)).astype(np.int32)
    images = rng.integers(0, 120, (count, size, size, 3)).astype(np.uint8)
    for image, k in zip(images, label):
        image[:, k * size // len(classes)] = 220
    subject = np.array([f"s{i // len(classes) % 10}" for i in range(count)])
    table = Table(
        file=np.array([f"{i:03d}.png" for i in range(count)]),
        split=np.array(["train" if i % 5 else "test" for i in range(count)]),
        label=label,
        subject=subject,
        sequence=subject,
        sha256=np.array([f"{i:064x}" for i in range(count)]),
    )
    encoded = [cv2.imencode(".png", x[..., ::-1])[1].tobytes() for x in images]
    return Dataset("toy", tuple(classes), table, Records({"image": e} for e in encoded))


def stand_in(patch, found=None):
    """Let every config find this data set, or `found`, and the toy method."""
    found = dataset() if found is None else found
    patch.setattr(datasets, "load", lambda *args, **kwargs: found)
    patch.setattr(methods, "create", create)
    return found


create_shipped = methods.create


def create(config, **sizes):
    """The toy method, or one of jaxfer's that the config names."""
    made = method if config.method.name == "toy" else create_shipped
    return made(config, **sizes)


def config(**protocol):
    """A base config that `method` understands."""
    result = base_config()
    result.method = {"name": "toy"}
    result.epochs = 3
    result.batch_size = 6
    result.data.image_size = 8
    result.protocol.kind = "subject"
    result.protocol.validation_kind = "subject"
    result.checkpoint.every_seconds = 1e9
    result.log.progress = False
    result.log.tensorboard = False
    result.protocol.update(protocol)
    return result


def small_cfnet(**protocol):
    """CFNet's smallest network, on the toy's images.

    Trained by plain descent: Adam makes large steps of what is nearly zero.
    """
    result = cfnet.default_config()
    for optim in (result.optim, result.fusion.optim):
        optim.name, optim.momentum, optim.learning_rate = "sgd", 0.9, 0.01
    result.method.width, result.method.image_size = 0.03125, 28
    toy = config(**protocol)
    for name in ("epochs", "batch_size", "checkpoint", "log", "protocol"):
        result[name] = toy[name]
    result.data.image_size = 28
    result.fusion.epochs, result.fusion.batch_size = 2, 12
    return result


def method(config, *, num_classes, steps_per_epoch):
    """Softmax regression, then the same on its frozen logits.

    It uses the key and keeps a running mean, so that a wrong key or a lost
    statistic shows.
    """
    del steps_per_epoch
    optimizer = optax.adam(0.02)

    def flat(images):
        return common.to_float(images).reshape(images.shape[0], -1)

    def init(key, images):
        x = flat(images)
        first = 0.01 * jax.random.normal(key, (x.shape[1], num_classes))
        params = {"first": first, "second": jnp.eye(num_classes)}
        variables = {"params": params, "batch_stats": jnp.zeros(x.shape[1])}
        opt_state = {name: optimizer.init(p) for name, p in params.items()}
        return common.start(variables, opt_state)

    def step(name):
        def train_step(state, batch, key):
            params = state.variables["params"]
            stats = state.variables["batch_stats"]
            if name == "first":
                x = flat(batch["image"])
                stats = 0.9 * stats + 0.1 * jnp.mean(x, axis=0)
                x = x - stats[None] + 0.01 * jax.random.normal(key, x.shape)
            else:
                x = batch["features"]

            def loss_fn(p):
                logits = x @ p
                loss = losses.cross_entropy(logits, batch["target"])
                return jnp.mean(loss), (loss, logits)

            p, opt_state, (loss, logits) = common.gradient_step(
                loss_fn, optimizer, params[name], state.opt_state[name], state.lr_scale
            )
            metrics = common.classification_metrics(loss, {"": logits}, batch["label"])
            new = state._replace(
                step=state.step + 1,
                variables={"params": {**params, name: p}, "batch_stats": stats},
                opt_state={**state.opt_state, name: opt_state},
            )
            return new, metrics

        return train_step

    def predict_first(variables, images):
        x = flat(images) - variables["batch_stats"][None]
        return Outputs(x @ variables["params"]["first"])

    def predict_second(variables, features):
        return Outputs(features @ variables["params"]["second"])

    def predict(variables, images):
        first = predict_first(variables, images).logits
        second = predict_second(variables, first)
        return second._replace(heads={"first": first}, features={"top": first[:, 0]})

    stages = (
        Stage(
            "first",
            config.epochs,
            (Pass(step("first"), config.batch_size),),
            predict_first,
            selection=Selection("loss", "min"),
            plateau=Plateau("loss", "min", 0.5, 1),
        ),
        Stage(
            "second",
            2,
            (Pass(step("second"), config.batch_size),),
            predict_second,
            features=lambda variables, images: predict_first(variables, images).logits,
        ),
    )
    return Method("toy", init, stages, predict)
