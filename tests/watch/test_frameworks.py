"""A real run on digits in plain PyTorch, Lightning, the Hugging Face Trainer and Keras, watched end to end."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from watch.runs import clone_rows, digits, hooks, mlp, steps

from lockstep import watch

EXPECTED = [0, 20, 40, 50]


def tied() -> nn.Sequential:
    """64-16-10 with units 0 and 1 twins in both directions, 2 and 3 in their incoming weights only."""
    model = mlp(64, 16, 10)
    clone_rows(model[0], [0, 2], [1, 3])
    with torch.no_grad():
        model[2].weight[:, 1] = model[2].weight[:, 0]
    return model


def assert_story(w, layer: str, steps_: list[int] = EXPECTED) -> None:
    """Units 0 and 1 stay together, 2 and 3 come apart at the first update, and learning shows."""
    rows = w[layer]
    assert [row["step"] for row in rows] == steps_
    assert [row["distinct"] for row in rows] == [14] + [15] * (len(rows) - 1)
    assert [row["gradient_twins"] for row in rows[:-1]] == [2] * (len(rows) - 1)
    assert all(row["effective_rank"] > 1 for row in rows[:-1])
    assert all(row["dormant"] is not None and row["saturated"] is not None for row in rows[:-1])
    assert [(e.step, e.units, e.cause) for e in w.events if e.kind == "separated"] == [
        (1, (2, 3), "gradients")
    ]
    assert w.failures == []


def test_plain_pytorch(tmp_path: Path) -> None:
    model, (x, y) = tied(), digits()
    with watch(model, every=20) as w:
        for _ in steps(model, torch.optim.SGD(model.parameters(), 0.1), 50, x, y):
            pass
    assert_story(w, "0")
    assert hooks(model) == 0
    w.html(tmp_path / "run.html")
    assert "</html>" in (tmp_path / "run.html").read_text("utf-8")


@pytest.mark.extras
@pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"
)
def test_lightning(tmp_path: Path) -> None:
    import lightning
    from lightning.pytorch.callbacks import ModelCheckpoint

    from lockstep.integrations.watch_lightning import WatchCallback

    class Digits(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = tied()

        def training_step(self, batch, _):
            return F.cross_entropy(self.model(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    def trainer(callback, most: int, **kwargs):
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        keep = ModelCheckpoint(tmp_path, save_last=True)
        return lightning.Trainer(
            max_steps=most, accelerator="cpu", callbacks=[callback, keep], **quiet, **kwargs
        )

    data = torch.utils.data.TensorDataset(*digits())
    loader = torch.utils.data.DataLoader(data, batch_size=100)
    torch.manual_seed(0)
    callback, model = WatchCallback(every=20), Digits()
    trainer(callback, 50).fit(model, loader)
    assert_story(callback.watch, "model.0")
    assert hooks(model) == 0

    again = WatchCallback(every=20)
    trainer(again, 70).fit(model, loader, ckpt_path=str(tmp_path / "last.ckpt"))
    assert [row["step"] for row in again.watch["model.0"]] == [*EXPECTED, 60, 70]
    assert again.watch.updates == 70

    class Fails(Digits):
        def training_step(self, batch, n):
            if n == 7:
                raise ValueError("mine")
            return super().training_step(batch, n)

    failing, model = WatchCallback(every=5), Fails()
    with pytest.raises(ValueError, match="mine"):
        trainer(failing, 50).fit(model, loader)
    assert hooks(model) == 0
    assert [row["step"] for row in failing.watch["model.0"]] == [0, 5, 7]


class Head(nn.Module):
    """What the Trainer wants: a dict of inputs, the loss in the output."""

    def __init__(self) -> None:
        super().__init__()
        self.model = tied()

    def forward(self, x, labels=None):
        logits = self.model(x)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


@pytest.mark.extras
@pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"
)
def test_trainer(tmp_path: Path) -> None:
    from transformers import Trainer, TrainingArguments

    from lockstep.integrations.watch_trainer import WatchCallback

    x, y = digits()
    rows = [{"x": a, "labels": b} for a, b in zip(x, y, strict=True)]

    def trainer(model, callbacks, most: int):
        settings = TrainingArguments(
            str(tmp_path), max_steps=most, per_device_train_batch_size=25, gradient_accumulation_steps=2,
            learning_rate=0.1, optim="sgd", report_to=[], use_cpu=True, disable_tqdm=True,
            save_strategy="steps", save_steps=50, logging_strategy="no", max_grad_norm=0.0,
        )  # fmt: skip
        return Trainer(model, settings, train_dataset=rows, callbacks=callbacks)

    callback, model = WatchCallback(every=20), Head()
    trainer(model, [callback], 50).train()
    assert_story(callback.watch, "model.0")
    assert hooks(model) == 0

    again = WatchCallback(every=20)
    trainer(Head(), [again], 70).train(resume_from_checkpoint=str(tmp_path / "checkpoint-50"))
    assert [row["step"] for row in again.watch["model.0"]] == [*EXPECTED, 60, 70]

    with watch(Head(), every=20) as w:  # the context manager counts the same steps
        trainer(w.model, [], 50).train()
    assert_story(w, "model.0")


@pytest.mark.extras
@pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"
)
def test_keras(tmp_path: Path) -> None:
    import keras

    from lockstep import audit
    from lockstep.integrations.watch_keras import WatchCallback

    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense
    model = keras.Sequential(
        [keras.Input((64,)), dense(16, "relu", name="hidden"), dense(10, name="out")]
    )
    kernel, bias = model.layers[0].get_weights()
    kernel[:, [1, 3]] = kernel[:, [0, 2]]
    model.layers[0].set_weights([kernel, bias])
    kernel, bias = model.layers[1].get_weights()
    kernel[1] = kernel[0]
    model.layers[1].set_weights([kernel, bias])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss)
    x, y = (t.numpy() for t in digits())
    callback = WatchCallback(every=20)
    model.fit(x[:500], y[:500], batch_size=10, epochs=1, verbose=0, callbacks=[callback])
    assert_story(callback.watch, "hidden")
    assert set(callback.watch.layers) == set(audit(model, x[:4]).layers)
    assert sum(len(m._forward_hooks) for m in model.modules()) == 0

    more = WatchCallback(every=20)
    more.load_state_dict(callback.state_dict())
    model.fit(x[:200], y[:200], batch_size=10, epochs=1, verbose=0, callbacks=[more])
    assert [row["step"] for row in more.watch["hidden"]] == [*EXPECTED, 60, 70]
