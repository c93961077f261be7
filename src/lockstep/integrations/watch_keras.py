"""A watch as a Keras callback: ``model.fit(..., callbacks=[WatchCallback(every=100)])``, on the torch backend.

Keras' optimizers are its own, so updates are counted by ``optimizer.iterations``: gradient accumulation counts once,
and a step that a ``LossScaleOptimizer`` skips does not count.
"""

from __future__ import annotations

from typing import Any

import keras

from lockstep.watch import Watch, watch


class WatchCallback(keras.callbacks.Callback):  # type: ignore[misc]  # the base is optional, hence untyped here
    """Arguments are those of :func:`lockstep.watch` but the model. ``callback.watch`` is the running watch.

    Keras tells its callbacks nothing when ``fit`` fails: ``callback.close()`` takes the hooks off then.
    """

    def __init__(self, every: int | None = None, **settings: Any) -> None:
        super().__init__()
        self.watch: Watch | None = None
        self._every, self._settings = every, settings
        self._saved: dict[str, Any] | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Begin at the optimizer's count of iterations."""
        self.close()
        self.watch = watch(self.model, self._every, **self._settings)
        if self._saved is not None:
            self.watch.load_state_dict(self._saved)
        self.watch.updates = self._iterations()
        self.watch.__enter__()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """The weights are read before the batch changes them."""
        assert self.watch is not None
        self.watch.before_update(None)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """An update was made, if the optimizer says so."""
        assert self.watch is not None
        if self._iterations() > self.watch.updates:
            self.watch.after_update(None)

    def on_train_end(self, logs: Any = None) -> None:
        """The last row; sinks are closed."""
        self.close()

    def close(self) -> None:
        """End the watch; harmless if it has ended."""
        if self.watch is not None:
            self.watch.__exit__(None, None, None)

    def state_dict(self) -> dict[str, Any]:
        """What was measured, to be saved beside the model."""
        return {} if self.watch is None else self.watch.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave, at the next ``fit``."""
        self._saved = state or None

    def _iterations(self) -> int:
        return int(self.model.optimizer.iterations)
