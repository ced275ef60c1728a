import golden_rule
import numpy as np
import pytest

from jaxfer import weights
from jaxfer.errors import ConfigError, WeightsError


def marked(system):
    """Arrays of the released code's names and shapes, cheap to make."""
    rows = golden_rule.load("cfnet")[1]["weights"][system]
    return {name: np.zeros(shape, np.float32) for name, _, shape, *_ in rows}


@pytest.fixture
def fusion():
    return marked("cfnet_fusion")


def test_the_number_of_classes_comes_from_the_arrays(fusion):
    variables = weights.from_official("cfnet_fusion", fusion)
    assert variables["params"]["logits"]["bias"].shape == (7,)


def test_another_number_of_classes_is_an_error(fusion):
    with pytest.raises(WeightsError, match=r"dense_3/bias is \(7,\), expected \(8,\)"):
        weights.from_official("cfnet_fusion", fusion, num_classes=8)


def test_names_with_a_tensor_number(fusion):
    fusion["dense/bias"] += 1
    plain = weights.from_official("cfnet_fusion", fusion)
    numbered = {f"{name}:0": array for name, array in fusion.items()}
    again = weights.from_official("cfnet_fusion", numbered)
    assert plain["params"]["local"]["bias"].all()
    np.testing.assert_array_equal(
        again["params"]["local"]["bias"], plain["params"]["local"]["bias"]
    )


def test_a_second_network_of_the_same_process(fusion):
    fusion["dense_2/bias"] += 1
    later = {
        name.replace(layer, f"dense_{7 + i}"): array
        for i, layer in enumerate(("dense", "dense_1", "dense_2", "dense_3"))
        for name, array in fusion.items()
        if name.startswith(f"{layer}/")
    }
    assert set(later) & set(fusion) == set()
    variables = weights.from_official("cfnet_fusion", later)
    assert variables["params"]["fused"]["bias"].all()


def test_missing_names_are_listed_without_wrong_shapes(fusion):
    del fusion["dense_3/bias"], fusion["dense_1/kernel"]
    with pytest.raises(
        WeightsError, match=r"missing \(2\): dense_1/kernel; dense_3/bias"
    ):
        weights.from_official("cfnet_fusion", fusion, num_classes=7)


def test_weights_of_the_other_heads():
    with pytest.raises(WeightsError) as info:
        weights.from_official("cfnet", marked("cfnet_mmi"), heads="shared")
    assert "unknown (4): dense_7/kernel; dense_7/bias; dense_8/kernel" in str(
        info.value
    )
    assert "dense/kernel is (512, 512), expected (512, 1024)" in str(info.value)


def test_an_unknown_model():
    with pytest.raises(WeightsError, match="name maps for cfnet, cfnet_fusion"):
        weights.from_official("resnet1", {})


def test_an_unknown_option(fusion):
    with pytest.raises(ConfigError, match="no option 'wide'"):
        weights.from_official("cfnet_fusion", fusion, wide=2)
