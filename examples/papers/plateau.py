"""The symmetric plateau of a committee machine, and the rate of its escape.

Online learning of K erf units from a teacher of the same shape rests on a plateau where all units are alike, and
leaves it at a rate known in closed form [saad1995prl] [saad1995pre] [biehl1995] [goldt2019]. Here three ways: a
forecast of plain gradient descent on the exact Gaussian average, the equations for the overlaps at finite learning
rate, and online training itself.
Run: python -m examples.papers.plateau [folder for the figure]
"""

from __future__ import annotations

import math
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import lockstep

from .table import Row, axes, main, near, same, save

Array = NDArray[np.float64]
FINITE = {
    0.1: 0.065316,
    0.2: 0.064853,
    0.5: 0.063236,
    1.0: 0.059140,
}  # learning rate: eigenvalue / rate
ESCAPES = {1e-2: 548.6, 1e-4: 1254.1, 1e-6: 1959.2, 1e-8: 2664.2}  # asymmetry: time of escape
SLOWER = "growth slows down before specialisation reaches .12, where the fit ends; the equations show the same."
SIGNS = np.array([-1.0, -1.0, 1.0, 1.0])  # of student and teacher units in the error


# -- gradient descent on the average over all inputs: a forecast ----------------------------------


class Committee(nn.Module):
    """K hidden erf units whose outputs are added, on K inputs: enough, as all vectors lie in the teacher's span."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.hidden = nn.Linear(*weights.shape, bias=False).double()
        with torch.no_grad():
            self.hidden.weight.copy_(weights)

    def forward(self, x: Tensor) -> Tensor:
        return torch.erf(self.hidden(x) / math.sqrt(2)).sum(1, keepdim=True)


def gaussian(units: int, points: int) -> tuple[Tensor, Tensor]:
    """Gauss-Hermite nodes (points^units, units) and their weights: averages over N(0, 1) inputs."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(points)
    weights /= weights.sum()
    x = np.array(list(product(nodes, repeat=units)))
    return torch.tensor(x), torch.tensor(np.prod(list(product(weights, repeat=units)), axis=1))[
        :, None
    ]


def rate(units: int, points: int) -> tuple[float, float, int, int]:
    """Of K units on their plateau: loss, growth rate a unit of time, how many directions grow, out of how many."""
    x, weight = gaussian(units, points)
    y = Committee(torch.eye(units)).double()(x).detach()

    def half_square(output: Tensor, target: Tensor) -> Tensor:
        return (weight * (output - target) ** 2).sum() / 2

    plateau = torch.full((units, units), 1 / math.sqrt(units * (2 * units - 1)))
    net, lr, steps = Committee(plateau), 0.01, 100
    seen = lockstep.forecast(
        net, x, y, loss=half_square, optimizer=partial(torch.optim.SGD, lr=lr), steps=steps,
        groups=[("hidden", tuple(range(units)))],
    )["hidden"]  # fmt: skip
    growing = [s for s in seen.spectrum if s > 1e-6]
    loss = half_square(net(x), y).item()
    return loss, math.expm1(max(growing) / steps) / lr, len(growing), seen.dimension


# -- the equations for the overlaps, K = M = 2 ----------------------------------------------------


def third(c: Array) -> Array:
    """<g'(u_i) u_v g(u_w)> for all students i and fields v, w (2, 4, 4) with covariance c (4, 4)."""
    i, v, w = np.ix_(range(2), range(4), range(4))
    one, det = 1 + c[i, i], (1 + c[i, i]) * (1 + c[w, w]) - c[i, w] ** 2
    return 2 / math.pi / np.sqrt(det) * (c[v, w] * one - c[i, v] * c[i, w]) / one


def fourth(c: Array) -> Array:
    """<g'(u_i) g'(u_k) g(u_a) g(u_b)> for students i, k and all fields a, b (2, 2, 4, 4)."""
    i, k, a, b = np.ix_(range(2), range(2), range(4), range(4))
    p, q, r = 1 + c[i, i], 1 + c[k, k], c[i, k]
    det = p * q - r**2

    def lam(x: Array, y: Array, unit: float) -> Array:
        cross = r * (c[i, x] * c[k, y] + c[i, y] * c[k, x])
        return det * (unit + c[x, y]) - c[k, x] * c[k, y] * p - c[i, x] * c[i, y] * q + cross

    angle = np.arcsin(lam(a, b, 0.0) / np.sqrt(lam(a, a, 1.0) * lam(b, b, 1.0)))
    return 4 / math.pi**2 / np.sqrt(det) * angle


def velocity(state: Array, lr: float) -> Array:
    """Time derivative of (R11, R12, R21, R22, Q11, Q12, Q22)."""
    cov = np.eye(4)
    cov[:2, 2:] = state[:4].reshape(2, 2)
    cov[2:, :2] = cov[:2, 2:].T
    cov[:2, :2] = state[[4, 5, 5, 6]].reshape(2, 2)
    first = third(cov) @ SIGNS
    second = np.einsum("ikab,a,b", fourth(cov), SIGNS, SIGNS)
    overlap = lr * (first[:, :2] + first[:, :2].T) + lr**2 * second
    return np.concatenate([lr * first[:, 2:].ravel(), overlap[[0, 0, 1], [0, 1, 1]]])


def jacobian(state: Array, lr: float) -> Array:
    h = 1e-6
    sides = [
        (velocity(state + h * e, lr) - velocity(state - h * e, lr)) / (2 * h) for e in np.eye(7)
    ]
    return np.stack(sides, 1)


def plateau(lr: float) -> Array:
    """The symmetric fixed point, by Newton's method on R, Q, C alone.

    Started at Q > C: there is a second one at Q = C, where the units are one, and it is left as well.
    """
    lift = np.array([[1, 0, 0]] * 4 + [[0, 1, 0], [0, 0, 1], [0, 1, 0]], dtype=float)
    point = np.array([1 / math.sqrt(6), 0.38, 0.28])
    for _ in range(50):
        full = lift @ point
        point -= np.linalg.lstsq(jacobian(full, lr) @ lift, velocity(full, lr), rcond=None)[0]
    return lift @ point


def specialised(state: Array) -> float:
    return float(state[0] - state[1] - state[2] + state[3]) / 4


def escape(asymmetry: float, lr: float = 0.1, step: float = 0.5) -> tuple[float, list[float]]:
    """The time at which specialisation passes .25, from the plateau plus ``asymmetry``, and its course."""
    state = plateau(lr) + asymmetry * np.array([1, -1, -1, 1, 0, 0, 0])
    course = [specialised(state)]
    while course[-1] < 0.25:
        k1 = velocity(state, lr)
        k2 = velocity(state + step / 2 * k1, lr)
        k3 = velocity(state + step / 2 * k2, lr)
        k4 = velocity(state + step * k3, lr)
        state = state + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        course.append(specialised(state))
    over = (course[-1] - 0.25) / (course[-1] - course[-2])
    return step * (len(course) - 1 - over), course


# -- online training itself -----------------------------------------------------------------------


def average_rate(lr: float) -> float:
    """What the equations give for the same fit: less than the eigenvalue, as growth slows down on the way."""
    course = np.array(escape(0.01, lr)[1])
    window = (course > 0.02) & (course < 0.12)
    return float(np.polyfit(0.5 * np.arange(len(course))[window], np.log(course[window]), 1)[0])


def online(seed: int, inputs: int = 300, lr: float = 0.2) -> float:
    """The fitted growth rate of specialisation, from .02 to .12, in online training on fresh inputs."""
    rng = np.random.default_rng(seed)
    start = plateau(lr)
    student = np.zeros((2, inputs))
    student[:, :2] = start[:4].reshape(2, 2)
    # What Q has beyond the teacher's span, on two further inputs; rounding may leave a tiny negative part.
    size, axis = np.linalg.eigh(start[[4, 5, 5, 6]].reshape(2, 2) - student @ student.T)
    student[:, 2:4] = axis * np.sqrt(np.maximum(size, 0))
    student[:, :2] += 0.01 * np.array([[1, -1], [-1, 1]])
    times, seen, root, width = [], [], 1 / math.sqrt(2), math.sqrt(2 / math.pi)
    for block in range(100 * inputs):
        for x in rng.standard_normal((10, inputs)):
            u = student @ x
            error = sum(math.erf(x[k] * root) - math.erf(u[k] * root) for k in range(2))
            student += np.outer(lr / inputs * error * width * np.exp(-u * u / 2), x)
        r = student[:, :2]
        s = (r[0, 0] - r[0, 1] - r[1, 0] + r[1, 1]) / 4
        if s > 0.12:
            break
        if s > 0.02 or times:
            times.append(10 * (block + 1) / inputs)
            seen.append(max(s, 1e-4))
    return float(np.polyfit(times, np.log(seen), 1)[0])


def reproduce(folder: Path, seeds: int = 4) -> list[Row]:
    rows = []
    for units, points in ((2, 40), (3, 26)):
        k = units
        error = k / math.pi * (math.pi / 6 - k * math.asin(1 / (2 * k)))
        closed = 2 * k / math.pi / math.sqrt((2 * k - 1) * (2 * k + 1) ** 3)
        loss, growth, growing, dimension = rate(units, points)
        rows += [
            near(f"K = {k}: error on the plateau", error, loss, rel=1e-6),
            near(f"K = {k}: escape rate, forecast", closed, growth, rel=1e-4),
            same(f"K = {k}: growing directions of {dimension}", (k - 1) ** 2, growing),
        ]
    for lr, stated in FINITE.items():
        top = np.linalg.eigvals(jacobian(plateau(lr), lr)).real.max() / lr
        rows.append(
            near(
                f"K = 2, learning rate {lr:g}: eigenvalue / rate",
                stated,
                top,
                rel=1e-4,
                kind="measured",
            )
        )
    figure, plot = axes(
        "Escape from the symmetric plateau, K = 2", "α = steps / inputs", "specialisation", log=True
    )
    times = {}
    for asymmetry, stated in ESCAPES.items():
        times[asymmetry], course = escape(asymmetry)
        plot.plot([0.5 * t for t in range(len(course))], course, label=f"{asymmetry:g}")
        what = f"escape from asymmetry {asymmetry:g}, at α"
        rows.append(near(what, stated, times[asymmetry], rel=1e-3, kind="measured"))
    decade = (times[1e-8] - times[1e-2]) / 6
    rows.append(near("escape: α a decade of asymmetry", 352.53, decade, rel=1e-3, kind="measured"))
    plot.legend(fontsize=7, title="asymmetry", title_fontsize=7)
    save(figure, folder, "plateau")
    if seeds:
        mean = float(np.mean([online(seed) for seed in range(seeds)]))
        what = f"online training, 300 inputs, rate .2: growth rate, {seeds} seeds"
        rows += [
            near(
                f"{what}, beside the equations", average_rate(0.2), mean, rel=0.03, kind="derived"
            ),
            near(
                f"{what}, beside the eigenvalue", 0.012971, mean, rel=0.03, kind="derived"
            ).because(SLOWER),
            near(what, 0.01286, mean, rel=0.03, kind="measured"),
        ]
    return rows


if __name__ == "__main__":
    main(reproduce)
