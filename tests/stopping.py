"""Trainings that are stopped at a checkpoint and continued."""

from jaxfer import train


class Stopped(Exception):
    pass


def with_stops(monkeypatch, run, numbers):
    """Repeat `run()` until it ends, stopping it after a checkpoint each time.

    Args:
      monkeypatch: of the test.
      run: starts or continues the training.
      numbers: of the checkpoint, counted over all repetitions, that each call stops
        after; it must end before they do.

    Returns:
      How many checkpoints were written.
    """
    monkeypatch.setattr(train.passes, "DISPATCH_SECONDS", 0.0)  # after every step
    save, saves = train.checkpoints.Checkpoints.save, []

    def stop_after(number):
        def saving(self, *args):
            save(self, *args)
            saves.append(args[0])
            if len(saves) == number:
                self.wait()
                raise Stopped

        return saving

    for number in numbers:
        monkeypatch.setattr(train.checkpoints.Checkpoints, "save", stop_after(number))
        try:
            run()
        except Stopped:
            continue
        monkeypatch.setattr(train.checkpoints.Checkpoints, "save", save)
        return len(saves)
    raise AssertionError("the run never came to its end")
