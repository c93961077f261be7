"""The same in Keras: Sequential([Dense(2, sigmoid), Dense(1, sigmoid)]), weights set equal, fit.

w1 = w3 and w2 = w4 before and after fit when the outgoing weights are equal too; with only the incoming
weights equal they separate.
Run: python examples/why_keras.py [folder for the figure]
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import matplotlib.pyplot as plt
import numpy as np

from lockstep.explain.bundled import coffee

STARTS = {"incoming tied": (0.5, 1.0), "all tied": (0.5, 0.5)}


def network(outgoing: tuple[float, float]) -> keras.Sequential:
    """2-2-1 with w1 = w3 = 0.5, w2 = w4 = -0.25 (a kernel is (inputs, units)) and w5, w6 as given."""
    dense = keras.layers.Dense
    model = keras.Sequential([keras.Input((2,)), dense(2, "sigmoid"), dense(1, "sigmoid")])
    kernel = np.array([[0.5, 0.5], [-0.25, -0.25]])
    model.set_weights([kernel, np.zeros(2), np.array([[outgoing[0]], [outgoing[1]]]), np.zeros(1)])
    return model


def units(model: keras.Sequential) -> np.ndarray:
    """Incoming weights, one row a unit."""
    return model.layers[0].get_weights()[0].T


def main(folder: Path) -> None:
    x, y = (t.numpy().astype("float32") for t in coffee())
    figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, outgoing in STARTS.items():
        keras.utils.set_random_seed(0)
        model, gaps = network(outgoing), []
        gap = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda *_, model=model, gaps=gaps: gaps.append(
                np.ptp(units(model), 0).max()
            )
        )
        before = np.array_equal(*units(model))
        model.compile(keras.optimizers.Adam(0.05), "binary_crossentropy")
        model.fit(x, y, epochs=30, batch_size=50, verbose=0, callbacks=[gap])
        after = np.array_equal(*units(model))
        print(f"{name}: w1 = w3 and w2 = w4 before: {before}, after: {after}")
        axis.plot(np.maximum(gaps, 1e-9), label=name)
    axis.set(yscale="log", xlabel="epoch", ylabel="max |w_unit1 - w_unit2|", title="Keras, 2-2-1")
    axis.legend()
    figure.savefig(folder / "keras.png", dpi=80)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("."))
