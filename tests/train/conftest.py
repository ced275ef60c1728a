import pytest
import toy


@pytest.fixture
def use_toy(monkeypatch):
    """Make `jaxfer.train` find the toy method and data set."""
    from jaxfer.train import experiment, results

    data = toy.dataset()
    monkeypatch.setattr(experiment.data, "load", lambda *args, **kwargs: data)
    monkeypatch.setattr(experiment.methods, "create", toy.method)
    monkeypatch.setattr(results.methods, "create", toy.method)
    return data
