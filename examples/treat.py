"""A network was made twice as wide by copying: locked copies, untied, and merged again.

    python examples/treat.py

Trains a small network, widens it the way Net2Net does (copies with halved outgoing
weights), and compares what further training makes of it: as it is, untied, and widened with opposite signs.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from lockstep import audit, merge, untie, widen


def data() -> tuple[torch.Tensor, torch.Tensor]:
    """Points in the plane and a wavy function of them."""
    x = torch.rand(256, 2, generator=torch.Generator().manual_seed(1)) * 4 - 2
    return x, torch.sin(2 * x[:, :1]) * torch.cos(2 * x[:, 1:])


def small() -> tuple[nn.Module, torch.Tensor]:
    """2-4-1, trained for a while."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
    x, y = data()
    train(net, x, y, 500)
    return net, x


def copied() -> tuple[nn.Module, torch.Tensor]:
    """The same, twice as wide: every unit copied, outgoing weights halved."""
    net, x = small()
    widen(net, x, "0", to=8, split="halves").apply()
    return net, x


def train(net: nn.Module, x: torch.Tensor, y: torch.Tensor, steps: int) -> float:
    """Adam on the mean squared error; the loss at the end."""
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(net(x), y)
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def main() -> None:
    """Prints the loss after 1500 more steps of each, and how many different units there are."""
    net, x = small()
    _, y = data()
    mse = nn.functional.mse_loss
    nets = {"4 units": copy.deepcopy(net), "8 units, copies halved": copied()[0]}
    nets["... and untied"] = copy.deepcopy(nets["8 units, copies halved"])
    print(untie(nets["... and untied"], x, loss=mse, targets=y).apply(), end="\n\n")
    nets["8 units, opposite signs"] = copy.deepcopy(net)
    widen(nets["8 units, opposite signs"], x, "0", to=8).apply()
    for name, one in nets.items():
        loss = train(one, x, y, 1500)
        print(f"{name:24} loss {loss:.4f}, {audit(one, x).layers['0']}")
    receipt = merge(nets["8 units, copies halved"], x).apply()
    print(f"\nmerged again: {receipt.plan.what[0]}, function {receipt.function}")


if __name__ == "__main__":
    main()
