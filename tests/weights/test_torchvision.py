"""Name maps; that the networks compute the right thing is tested with the models."""

import re

import chex
import golden_rule
import numpy as np
import pytest

from jaxfer import weights
from jaxfer.errors import WeightsError
from jaxfer.methods import eac


def numbered(system):
    """Arrays of PyTorch's names and shapes, each filled with a number of its own."""
    index = golden_rule.load("eac" if system.startswith("eac") else "tv")[1]
    rows = index["weights"][system]
    return {row[0]: np.full(row[2], i, np.float32) for i, row in enumerate(rows)}


def with_head(arrays, name, classes):
    """The arrays with another classifier, like the files of ImageNet and VGGFace2."""
    kernel = f"{name}.weight"
    shape = (classes, arrays[kernel].shape[1])
    return {
        **arrays,
        kernel: np.zeros(shape, np.float32),
        f"{name}.bias": np.zeros(classes, np.float32),
        "bn1.num_batches_tracked": np.asarray(7),
    }


def timm_name(name):
    """timm's name of an entry of torchvision's MobileNetV2."""
    stages = [(s, i) for s, n in enumerate((1, 2, 3, 4, 3, 3, 1)) for i in range(n)]
    whole = {
        "features.0.0": "conv_stem",
        "features.0.1": "bn1",
        "features.18.0": "conv_head",
        "features.18.1": "bn2",
        "classifier.1": "classifier",
    }
    first = {
        "0.0": "conv_dw", "0.1": "bn1", "1": "conv_pw", "2": "bn2",
    }  # fmt: skip
    other = {
        "0.0": "conv_pw", "0.1": "bn1", "1.0": "conv_dw", "1.1": "bn2",
        "2": "conv_pwl", "3": "bn3",
    }  # fmt: skip
    module, _, leaf = name.rpartition(".")
    if module in whole:
        return f"{whole[module]}.{leaf}"
    block, place = re.fullmatch(r"features\.(\d+)\.conv\.(.+)", module).groups()
    stage, index = stages[int(block) - 1]
    layer = (first if block == "1" else other)[place]
    return f"blocks.{stage}.{index}.{layer}.{leaf}"


def test_timm_and_torchvision_give_the_same_mobilenet():
    arrays = numbered("tv_mobilenet_v2")
    renamed = {timm_name(name): array for name, array in arrays.items()}
    assert len(renamed) == len(arrays)
    for name in ("conv_stem.weight", "blocks.6.0.bn3.running_var", "classifier.bias"):
        assert name in renamed
    chex.assert_trees_all_equal(
        weights.from_official("mobilenet_v2", arrays),
        weights.from_official("mobilenet_v2", renamed),
    )


def test_the_trunk_alone_for_another_number_of_classes():
    arrays = numbered("tv_mobilenet_v2")
    whole = weights.from_official("mobilenet_v2", arrays)
    imagenet = with_head(arrays, "classifier.1", 1000)
    trunk = weights.from_official(
        "eac", imagenet, backbone="mobilenet_v2", num_classes=7, trunk_only=True
    )
    assert set(trunk["params"]) == set(trunk["batch_stats"]) == {"trunk"}
    chex.assert_trees_all_equal(trunk["params"]["trunk"], whole["params"]["trunk"])
    chex.assert_trees_all_equal(trunk["batch_stats"], whole["batch_stats"])
    assert set(whole["params"]) == {"trunk", "classifier"}


def test_vggface2_names_fit_eac_as_its_own_do():
    released = numbered("eac_r50")
    places = {
        "0": "conv1",
        "1": "bn1",
        **{str(i + 3): f"layer{i}" for i in range(1, 5)},
    }
    renamed = {
        re.sub(r"^features\.(\d)", lambda m: places[m[1]], name): array
        for name, array in released.items()
    }
    assert renamed.keys() == numbered("tv_resnet50").keys()
    whole = weights.from_official("eac", released)
    trunk = weights.from_official(
        "eac", with_head(renamed, "fc", 8631), num_classes=7, trunk_only=True
    )
    chex.assert_trees_all_equal(trunk["params"]["trunk"], whole["params"]["trunk"])
    chex.assert_trees_all_equal(trunk["batch_stats"], whole["batch_stats"])


def test_vgg_face_names_fit_vgg16():
    counts = (2, 2, 3, 3, 3)
    faces = [f"conv{b}_{i}" for b, n in enumerate(counts, 1) for i in range(1, n + 1)]
    arrays = numbered("tv_vgg16_features")
    torchvision = {f"features.{name}": array for name, array in arrays.items()}
    vgg_face = {
        f"{faces[i // 2]}.{name.split('.')[1]}": array
        for i, (name, array) in enumerate(arrays.items())
    }
    vgg_face |= {"fc8.weight": np.zeros((2622, 4096)), "fc8.bias": np.zeros(2622)}
    first, second = (
        weights.from_official("vgg16", arrays, trunk_only=True)
        for arrays in (torchvision, vgg_face)
    )
    chex.assert_trees_all_equal(first, second)
    assert set(first["params"]["trunk"]) == set(faces)


def test_the_whole_of_vgg16():
    sizes = {"conv": 8, "fc6": 49 * 8, "fc7": 8, "fc8": 8}
    arrays = {}
    counts = (2, 2, 3, 3, 3)
    for block, count in enumerate(counts, 1):
        for i in range(1, count + 1):
            before = 3 if (block, i) == (1, 1) else 8
            arrays[f"conv{block}_{i}.weight"] = np.ones((8, before, 3, 3), np.float32)
            arrays[f"conv{block}_{i}.bias"] = np.ones(8, np.float32)
    for name in ("fc6", "fc7", "fc8"):
        units = 5 if name == "fc8" else 8
        arrays[f"{name}.weight"] = np.ones((units, sizes[name]), np.float32)
        arrays[f"{name}.bias"] = np.ones(units, np.float32)
    params = weights.from_official("vgg16", arrays, width=0.001)["params"]
    assert params["fc6"]["kernel"].shape == (49 * 8, 8)
    assert params["fc8"]["bias"].shape == (5,)


def test_weights_of_another_architecture_are_listed():
    with pytest.raises(WeightsError) as info:
        weights.from_official("resnet18", numbered("tv_resnet50"))
    message = str(info.value)
    assert "do not fit resnet18" in message
    assert "unknown (165): layer1.0.conv3.weight; " in message
    assert re.search(r"wrong shape \(\d+\): .*layer\S+ is \(\d+,\), expected", message)


def test_a_file_of_another_architecture_is_named_briefly(tmp_path):
    config = eac.default_config()
    config.method.backbone = "resnet18"
    config.method.initial = str(tmp_path / "mobilenet_v2.npz")
    np.savez(config.method.initial, **numbered("tv_mobilenet_v2"))
    method = eac.create(config, num_classes=7, steps_per_epoch=1)
    with pytest.raises(WeightsError) as info:
        method.pretrained()
    message = str(info.value)
    assert message.startswith(f"{config.method.initial}: ") and len(message) < 1000
    assert "missing (100): features.1.running_mean; features.1.running_v" in message
    assert "; and 95 more\n" in message and "unknown (260): features.0.0.w" in message


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [("layer1.0.other", "bn1.running_mean"), ("features.4.x", "features.1.running_m")],
)
def test_what_is_missing_is_called_as_the_file_would(theirs, expected):
    with pytest.raises(WeightsError, match=rf"missing \(\d+\): {expected}"):
        arrays = {theirs: np.zeros(1)}
        weights.from_official("eac", arrays, backbone="resnet18", width=0.125)


def test_a_classifier_of_another_size_is_an_error():
    arrays = with_head(numbered("tv_mobilenet_v2"), "classifier.1", 1000)
    with pytest.raises(WeightsError, match=r"classifier\.1\.bias is \(1000,\), exp"):
        weights.from_official("mobilenet_v2", arrays, num_classes=7)
