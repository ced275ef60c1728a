import jax.numpy as jnp
import numpy as np
import pytest
import toy

from jaxfer import train
from jaxfer.train import passes


@pytest.fixture
def reads(monkeypatch):
    """Device arrays that the host has read, whichever way; counted on CPU too,
    where a transfer guard sees none."""
    seen = []
    kind = type(jnp.zeros(()))
    value = kind._value

    def counted(function):
        def call(array, *args, **kwargs):
            if isinstance(array, kind):
                seen.append(array.shape)
            return function(array, *args, **kwargs)

        return call

    monkeypatch.setattr(kind, "_value", property(counted(value.fget)))
    for name in ("asarray", "array"):  # these read a CPU's buffers directly
        monkeypatch.setattr(np, name, counted(getattr(np, name)))
    return seen


@pytest.mark.parametrize("resident", ["always", "never"])
@pytest.mark.usefixtures("use_toy")
def test_the_host_reads_nothing_within_an_epoch(tmp_path, monkeypatch, reads, resident):
    config = toy.config(kind="given", validation=0.0)
    config.data.resident = resident
    within, whole = [], passes.train

    def counting(*args):
        before = len(reads)
        result = whole(*args)
        within.append(len(reads) - before)
        return result

    monkeypatch.setattr(passes, "train", counting)
    train.run(config, tmp_path, say=lambda line: None)
    assert within == [0] * (3 + 2)  # epochs of both stages
    assert len(reads) >= len(within)  # at their ends there is something to log


def test_the_counter_sees_every_way_to_read(reads):
    for read in (float, np.asarray, np.array, lambda a: a.item(), bool):
        before = len(reads)
        read(jnp.ones(()) + 1)
        assert len(reads) > before, read


class Clock:
    """Time that passes by so much a step."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


@pytest.mark.parametrize("piece", [1, None])
def test_chunks_grow_to_the_time_between_two_looks(monkeypatch, piece):
    """Eight steps take a chunk's time, whether a dispatch is a step or a chunk."""
    clock, ticks, pace = Clock(), [], passes.Pace()
    monkeypatch.setattr(passes, "time", clock)

    class Feed:
        def pieces(self, order, start, stop, length):
            while start < stop:
                last = min(start + (piece or length()), stop)
                yield None, start, last
                start = last

    def step(states, sums, source, keys, first, last):
        clock.now += passes.DISPATCH_SECONDS * float(last - first) / 8
        return states, sums, jnp.zeros(())

    order = np.zeros((1, 34, 2), np.int32)
    passes.train(
        step, Feed(), None, None, order, None, 2, pace, lambda at, *_: ticks.append(at)
    )
    assert pace.chunk == 8
    assert ticks == [3, 11, 19, 27, 34]
