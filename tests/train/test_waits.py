import threading

import jax
import numpy as np
import pytest
import toy

from jaxfer.data import streaming
from jaxfer.train import feed, sharding, waits


class Clock:
    """Seconds that stand still until a test moves them."""

    now = 0.0

    def __call__(self):
        return self.now


class Token:
    """The end of a step, at a given time."""

    def __init__(self, clock, end):
        self.clock, self.end = clock, end

    def block_until_ready(self):
        self.clock.now = self.end


class Fed:
    """Pieces that come at given times, and images that take as long to read."""

    def __init__(self, clock, times, decode=1.0, workers=0):
        self.clock, self.times, self.decode = clock, times, decode
        self.workers = workers
        self.reads = 0

    def pieces(self, order, start, stop, length):
        for at in self.times[start:stop]:
            self.clock.now = max(self.clock.now, at)
            yield None, 0, 1

    def decode_seconds(self, order):
        self.reads += 1
        return self.decode


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(waits.time, "perf_counter", clock)
    return clock


def run(meter, clock, ends, start=0):
    """A pass whose steps end at these times, each seen at once."""
    step = meter.watch(lambda end: (Token(clock, end),))
    pieces = meter.pieces(None, start, start + len(ends), lambda: 1)
    for end, _ in zip(ends, pieces, strict=True):
        at = clock.now
        step(end)
        meter._ended[-1].result()
        clock.now = at  # the loop does not wait for a step


def test_only_what_the_device_waits_for_counts(clock):
    # Asked at 0, images come at 2; the step ends at 5. The next ones come at 4, while
    # the device works, and the third ones at 11, when it has been idle for 3 seconds.
    meter = waits.Meter(Fed(clock, [2, 4, 11]))
    run(meter, clock, [5, 8, 14])
    assert meter.epoch() == waits.Wait(whole=14, idle=5, first=2, step=3)
    assert meter.epoch() is None  # nothing since


def test_a_pass_after_another_begins_anew(clock):
    meter = waits.Meter(Fed(clock, [1, 2, 6, 7]))
    run(meter, clock, [2, 4])
    clock.now = 4
    run(meter, clock, [7, 8], start=2)
    assert meter.epoch() == waits.Wait(whole=8, idle=3, first=3, step=5 / 4)


@pytest.mark.parametrize(
    ("decode", "workers"), [(0.9, 1), (3.0, 1), (3.1, 2), (12.0, 4)]
)
def test_workers_are_told_once(clock, decode, workers):
    fed, lines = Fed(clock, [0, 5, 10, 15], decode), []
    meter = waits.Meter(fed)
    orders = [np.zeros((1, 2, 4), np.int32)]
    for first, share in ((0, 2 / 8), (2, 4 / 10)):
        begin = 5 * first
        run(meter, clock, [begin + 3, begin + 8], start=first)
        figures = meter.tell("joint", orders, lines.append)
        assert figures == {"input/wait": share, "input/workers": workers}
        clock.now = begin + 8
    assert fed.reads == 1 and len(lines) == 1
    assert lines[0].startswith("joint: 25% of the training waits for images (2.0 of")
    assert lines[0].endswith(f"data.workers={workers} would keep up; it is 0")


def test_enough_workers_that_do_not_keep_up(clock):
    meter, lines = waits.Meter(Fed(clock, [0, 5], decode=6.0, workers=2)), []
    run(meter, clock, [3, 8])
    orders = [np.zeros((1, 2, 4), np.int32)]
    assert meter.tell("joint", orders, lines.append)["input/workers"] == 2
    assert "it is 2, so that CPUs or disk must be busy" in lines[0]


def test_a_slow_start_is_told_from_slow_reading(clock):
    fed, lines = Fed(clock, [4, 5, 14, 21]), []
    meter = waits.Meter(fed)
    run(meter, clock, [6, 8])
    assert meter.tell("joint", [], lines.append) == {"input/wait": 0.5}
    assert lines[0].endswith(f"4.0 s for the first ones); {waits.STARTING}")
    clock.now = 10
    run(meter, clock, [16, 22], start=2)
    meter.tell("joint", [np.zeros((1, 2, 4), np.int32)], lines.append)
    assert fed.reads == 1 and "would keep up" in lines[1]


def test_nothing_is_said_of_little(clock):
    meter, lines = waits.Meter(Fed(clock, [0.1, 1])), []
    run(meter, clock, [5, 10])
    assert meter.tell("joint", [], lines.append) == {"input/wait": 0.01}
    assert lines == []


def test_steps_of_different_sizes_share_the_reading(clock):
    # 3 steps of 8 images and 1 of 32: 14 in the mean, and 8 take 4 seconds.
    orders = [np.zeros((1, 3, 8), np.int32), np.zeros((1, 1, 32), np.int32)]
    meter = waits.Meter(Fed(clock, [0, 4, 4, 4], decode=4.0))
    run(meter, clock, [1, 5, 6, 7])
    assert meter.tell("joint", orders, print)["input/workers"] == 7


def streamed(data):
    return feed.Streamed(
        data, sharding.create_mesh(1, 2), size=8, workers=0, change=None, given={}
    )


def test_steps_on_a_real_stream_are_not_waited_for():
    data = toy.dataset(8)
    meter, free = waits.Meter(streamed(data)), threading.Event()
    seen = []

    class Busy:
        def block_until_ready(self):
            free.wait(10)

    step = meter.watch(lambda source: (seen.append(source.data["index"]), Busy()))
    order = np.arange(8, dtype=np.int32).reshape(1, 4, 2)
    for source, _, _ in meter.pieces(order, 0, 4, lambda: 1):
        step(source)  # of no end
    np.testing.assert_array_equal(np.concatenate(seen, axis=1), [np.arange(8)])
    assert not any(end.done() for end in meter._ended)
    free.set()
    wait = meter.epoch()
    assert 0 < wait.first <= wait.idle <= wait.whole and wait.step > 0
    assert meter.feed.decode_seconds(order) > 0


def test_a_batch_travels_before_it_is_asked_for(monkeypatch):
    data, read, batches = toy.dataset(8), [], streaming.batches

    def noting(*args, **options):
        for batch in batches(*args, **options):
            read.append(batch["index"][0])
            yield batch

    monkeypatch.setattr(feed.streaming, "batches", noting)
    order = np.arange(8, dtype=np.int32).reshape(1, 4, 2)
    ahead = []
    for number, (source, _, _) in enumerate(
        streamed(data).pieces(order, 0, 4, lambda: 1)
    ):
        assert isinstance(source.data["image"], jax.Array)
        ahead.append(len(read) - number - 1)
    assert ahead == [1, 1, 1, 0]
