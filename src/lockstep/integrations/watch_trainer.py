"""A watch as a callback of the Hugging Face Trainer: ``Trainer(..., callbacks=[WatchCallback(every=100)])``.

The Trainer tells its callbacks nothing when training fails: use ``with watch(model): trainer.train()`` where that
matters (it counts the same steps), or call ``callback.close()``; hooks of a dropped callback go with it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from lockstep.watch import Watch, watch

FILE = "lockstep_watch.json"


class WatchCallback(TrainerCallback):  # type: ignore[misc]  # the base is optional, hence untyped here
    """Arguments are those of :func:`lockstep.watch` but the model. ``callback.watch`` is the running watch.

    What was measured is saved in each checkpoint's folder as ``lockstep_watch.json`` and read on resume.
    """

    def __init__(self, every: int | None = None, **settings: Any) -> None:
        self.watch: Watch | None = None
        self._every, self._settings = every, settings

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin, or go on from the checkpoint of the same step."""
        self.close()
        self.watch = watch(kwargs["model"], self._every, **self._settings)
        saved = _folder(args, state) / FILE
        if state.global_step and saved.is_file():
            self.watch.load_state_dict(json.loads(saved.read_text("utf-8")))
        self.watch.updates = state.global_step
        self.watch.__enter__()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The last row; sinks are closed."""
        self.close()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Beside the checkpoint that was just written."""
        folder = _folder(args, state)
        if self.watch is not None and folder.is_dir() and state.is_world_process_zero:
            (folder / FILE).write_text(json.dumps(self.watch.state_dict()), "utf-8")

    def close(self) -> None:
        """End the watch; harmless if it has ended."""
        if self.watch is not None:
            self.watch.__exit__(None, None, None)


def _folder(args: Any, state: Any) -> Path:
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"
