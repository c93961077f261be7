"""A watch as a Lightning callback: ``Trainer(callbacks=[WatchCallback(every=100)])``.

Starts with training and ends with it, after an exception too. Its rows travel in Lightning's checkpoints.
"""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback

from lockstep.watch import Watch, watch


class WatchCallback(Callback):  # type: ignore[misc]  # the base is optional, hence untyped here
    """Arguments are those of :func:`lockstep.watch` but the model. ``callback.watch`` is the running watch.

    The model is the LightningModule, so layers have its names (``model.0`` for ``self.model = Sequential(…)``).
    Under ``precision="16-mixed"`` the loss scale is taken from the trainer.
    """

    def __init__(self, every: int | None = None, **settings: Any) -> None:
        self.watch: Watch | None = None
        self._every, self._settings = every, settings
        self._saved: dict[str, Any] | None = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin, or go on from a checkpoint."""
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        settings = {"scaler": scaler, **self._settings}
        self.watch = watch(pl_module, self._every, **settings)
        if self._saved is not None:
            self.watch.load_state_dict(self._saved)
        self.watch.__enter__()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """The last row; sinks are closed."""
        self._end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """The same when training fails."""
        self._end()

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """In case nothing else was called."""
        self._end()

    def _end(self) -> None:
        if self.watch is not None:
            self.watch.__exit__(None, None, None)

    def state_dict(self) -> dict[str, Any]:
        """For Lightning's checkpoints."""
        return {} if self.watch is None else self.watch.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lightning calls it before training starts."""
        self._saved = state_dict or None
