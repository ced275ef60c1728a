"""Strict settings for every test: two CPU devices, no implicit promotion."""

import atexit
import gc
import os
import shutil
import tempfile
from importlib.metadata import version

os.environ["JAX_PLATFORMS"] = "cpu"
# Most of the tests' time goes into compiling, a quarter of it into LLVM's optimiser,
# which changes no result by more than rounding.
FLAGS = "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0"
# One part a program: the cores are busy with other tests.
FLAGS += " --xla_cpu_parallel_codegen_split_count=1"
if version("jaxlib").startswith("0.10."):
    # Another two fifths; later versions have no such flag and stop at unknown ones.
    FLAGS += " --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}"

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

# Many tests compile the same program; each is compiled once a session, by one of the
# processes that share it. The first of them, which collects tests, makes the folder.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["JAXFER_TEST_CACHE"] = tempfile.mkdtemp(prefix="jaxfer-xla-")
    atexit.register(shutil.rmtree, os.environ["JAXFER_TEST_CACHE"], ignore_errors=True)
jax.config.update("jax_compilation_cache_dir", os.environ["JAXFER_TEST_CACHE"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

# Tracing makes and drops objects by the million, few of them in circles.
gc.freeze()
gc.set_threshold(100_000, 20, 100)


@pytest.fixture(scope="session")
def finished_toy(tmp_path_factory):
    """The folder of a finished run of the toy; to be read, or copied."""
    import toy

    from jaxfer import train

    folder = tmp_path_factory.mktemp("finished_toy")
    with pytest.MonkeyPatch.context() as patch:
        toy.stand_in(patch)
        train.run(toy.config(kind="given"), folder, say=lambda line: None)
    return folder


@pytest.fixture
def faces(tmp_path):
    """A folder of two images of one name, the second in a folder of its own."""
    import cv2
    import numpy as np

    rng = np.random.default_rng(0)
    folder = tmp_path / "faces"
    (folder / "more").mkdir(parents=True)
    for name in ("one.png", "more/one.png"):
        image = rng.integers(0, 256, (20, 16, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / name), image)
    return folder


SLOWEST = (
    "test_kill.py",
    "test_fersnet_training.py",
    "test_processes.py",
    "test_configs.py",
)


def pytest_collection_modifyitems(items):
    """The slowest files first, so that two processes end at about the same time."""
    order = {name: place for place, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))
