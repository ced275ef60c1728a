import pytest
import toy


@pytest.fixture
def use_toy(monkeypatch):
    """Make `jaxfer.train` find the toy method and data set."""
    return toy.stand_in(monkeypatch)
