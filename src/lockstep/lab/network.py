"""A state as an ordinary ``nn.Sequential`` in float64, and weights as one flat list."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from lockstep.lab.state import State

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "linear": nn.Identity,
}
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "bce": functional.binary_cross_entropy,
    "mse": functional.mse_loss,
}
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "momentum": partial(torch.optim.SGD, momentum=0.9),
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
}


def network(state: State) -> nn.Sequential:
    """The network as it starts: drawn from the seed by PyTorch's own rule, or with the weights given.

    >>> network(State())
    Sequential(
      (0): Linear(in_features=2, out_features=2, bias=True)
      (1): Sigmoid()
      (2): Linear(in_features=2, out_features=1, bias=True)
      (3): Sigmoid()
    )
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(state.seed)
        pairs = zip(state.sizes, state.sizes[1:], strict=False)
        dense = [nn.Linear(before, units, bias=state.bias) for before, units in pairs]
    modules: list[nn.Module] = []
    for layer in dense[:-1]:
        modules += [layer, ACTIVATIONS[state.activation]()]
        if state.dropout:
            modules.append(nn.Dropout(state.dropout))
    net = nn.Sequential(*modules, dense[-1], *output(state)).double()
    if state.weights is not None:
        put(net, state.weights)
    return net


def output(state: State) -> list[nn.Module]:
    """Cross-entropy wants a probability; the square of a difference takes any number."""
    return [nn.Sigmoid()] if state.loss == "bce" else []


def optimizer(state: State) -> Callable[[Iterable[Tensor]], torch.optim.Optimizer]:
    """A function of parameters."""
    return partial(OPTIMIZERS[state.optimizer], lr=state.lr)


def weights_of(model: nn.Module) -> tuple[float, ...]:
    """All weights and biases, in the order of ``named_parameters()``."""
    return tuple(torch.cat([p.detach().reshape(-1) for p in model.parameters()]).tolist())


def put(model: nn.Module, weights: Sequence[float]) -> None:
    """Writes what :func:`weights_of` reads."""
    flat, at = torch.tensor(weights, dtype=torch.float64), 0
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(flat[at : at + p.numel()].reshape(p.shape))
            at += p.numel()


def layers(state: State) -> tuple[str, ...]:
    """Paths of the dense layers in the ``Sequential``.

    >>> layers(State()), layers(State(dropout=0.2))
    (('0', '2'), ('0', '3'))
    """
    stride = 3 if state.dropout else 2
    return tuple(str(n * stride) for n in range(len(state.hidden) + 1))


def carried(old: State, new: State) -> tuple[float, ...] | None:
    """The start of ``old`` on the structure of ``new``: entries that both have stay, others are drawn.

    None where the start of ``old`` was drawn from its seed: then so is the new one.
    """
    if old.weights is None:
        return None
    before, after = network(old), network(replace(new, weights=None))
    pairs = zip(dense_of(before), dense_of(after), strict=False)
    if len(old.hidden) != len(new.hidden):  # the last layer reads others now
        pairs = zip(dense_of(before)[:-1], dense_of(after)[:-1], strict=False)
    with torch.no_grad():
        for a, b in pairs:
            rows, columns = (min(p, q) for p, q in zip(a.weight.shape, b.weight.shape, strict=True))
            b.weight[:rows, :columns] = a.weight[:rows, :columns]
            if new.bias and old.bias:
                b.bias[:rows] = a.bias[:rows]
    return weights_of(after)


def dense_of(model: nn.Sequential) -> list[nn.Linear]:
    """The dense layers, in order."""
    return [module for module in model if isinstance(module, nn.Linear)]
