"""Models of the tests of explain, and small helpers that the tests share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MODULES: dict[str, type[nn.Module]] = {
    "identity": nn.Identity,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "gelu": nn.GELU,
}


def dense(widths: list[int], names: list[str], seed: int = 0, bias: bool = True) -> nn.Sequential:
    """Linear and activation alternating, float64, seeded."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for inputs, outputs, name in zip(widths[:-1], widths[1:], names, strict=True):
        layers += [nn.Linear(inputs, outputs, bias=bias), MODULES[name]()]
    return nn.Sequential(*layers).double()


def data(samples: int, inputs: int, outputs: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Standard normal x, y between 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, inputs, generator=generator, dtype=torch.float64)
    return x, torch.rand(samples, outputs, generator=generator, dtype=torch.float64)


def half_square(a: Tensor, y: Tensor) -> Tensor:
    """(a - y)²/2, the mean over everything."""
    return ((a - y) ** 2).mean() / 2


class InPlace(nn.Module):
    """Overwrites its pre-activations."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu_(self.first(x)))


class Matmul(nn.Module):
    """Dense layers written as ``x @ W + b`` with W (I, O)."""

    def __init__(self) -> None:
        super().__init__()
        self.v, self.b = nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(4))
        self.w, self.c = nn.Parameter(torch.randn(4, 2)), nn.Parameter(torch.randn(2))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.v + self.b) @ self.w + self.c


class Residual(nn.Module):
    """A skip connection and a LayerNorm above the explained layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner, self.norm = nn.Linear(3, 4), nn.Linear(4, 4), nn.LayerNorm(4)
        self.top = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.first(x))
        return self.top(self.norm(h + torch.relu(self.inner(h))))


class Shared(nn.Module):
    """One cell called three times."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.out = nn.Linear(4, 4), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = x
        for _ in range(3):
            h = torch.tanh(self.cell(h))
        return self.out(h)


class Convolved(nn.Module):
    """Convolution, BatchNorm, pooling and a dense top."""

    def __init__(self, **settings: object) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, **settings)  # type: ignore[arg-type]
        self.norm, self.top = nn.BatchNorm2d(4), nn.LazyLinear(3)
        self.out = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm(self.conv(x)), inplace=True)
        return self.out(torch.tanh(self.top(F.adaptive_avg_pool2d(h, 2).flatten(1))))


class Recurrent(nn.Module):
    """An RNN, GRU or LSTM, its last output, a dense top."""

    def __init__(self, kind: str, **settings: object) -> None:
        super().__init__()
        self.rnn = getattr(nn, kind)(3, 4, **settings)
        wide = 8 if settings.get("bidirectional") else 4
        self.first = bool(settings.get("batch_first"))
        self.out = nn.Linear(wide, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.rnn(x)[0]
        return self.out(h[:, -1] if self.first else h[-1])


class Noisy(nn.Module):
    """Draws random numbers in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.drop = nn.Linear(3, 1), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.drop(x))


class Detached(nn.Module):
    """Cuts the gradient of its first layer on one of two ways, behind autograd's back."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        if h.requires_grad:
            h.register_hook(lambda grad: 2 * grad)
        return self.second(torch.tanh(h))
