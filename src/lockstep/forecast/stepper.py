"""One step of the user's own optimizer, with its derivative: automatic differentiation of its very code.

The step runs on flat tensors that require gradients, so the derivative of the update is that of the code that will
run, for any optimizer whose step is made of differentiable operations. :class:`Recorded` puts right what stands in
the way: ``no_grad`` around the step; operands changed in place after their use; ``detach`` and ``.data`` (a momentum
buffer is a detached copy of the gradient, and depends on it); ``out=``; the square root of a second moment that is
exactly 0, whose derivative is taken as 0 (the first moment is 0 there as well, and the update depends on it
through ``1 / eps`` alone). Steps of fixed size (``sign``) are noted, since their derivative says nothing.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..errors import UndecidedError

SCALARS = ("step", "eta", "mu", "mu_product")
"""State that is one number for the whole parameter, also where the parameter is a scalar."""
SIGNS = ("sign", "sign_", "sgn", "sgn_", "round", "round_")
TRANSPARENT = ("detach", "detach_")

State = dict[str, Any]


class Recorded(TorchFunctionMode):
    """Operations of an optimizer step, recorded for differentiation; ``signs`` tells whether it took a sign."""

    def __init__(self, p: Tensor, gradient: Tensor) -> None:
        super().__init__()
        self._p, self._gradient = p, gradient
        self.signs = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name == "__get__":
            # Here p is the result of a copy; PyTorch warns of asking such a tensor for its gradient.
            own = self._gradient if func == GRAD and args[0] is self._p else None
            own = args[0] if func == DATA else own
            return func(*args, **kwargs) if own is None else own
        self.signs |= name in SIGNS
        with torch.enable_grad():
            if name in TRANSPARENT:
                return args[0].clone() if name == "detach" else args[0]
            out = kwargs.pop("out", None)
            in_place = name.endswith("_") and not name.endswith("__")
            args = [_kept(a) if n or not in_place else a for n, a in enumerate(args)]
            if name in ("sqrt", "sqrt_"):
                root = _sqrt(args[0])
                return args[0].copy_(root) if in_place else root
            result = func(*args, **kwargs)
            return result if out is None else out.copy_(result)


DATA = Tensor.data.__get__  # type: ignore[attr-defined]
GRAD = Tensor.grad.__get__  # type: ignore[union-attr]


def _kept(value: Any) -> Any:
    """A copy of an operand, which what happens to the original later on cannot change."""
    return value.clone() if isinstance(value, Tensor) else value


def _sqrt(x: Tensor) -> Tensor:
    """The square root, with derivative 0 at 0."""
    zero = x == 0
    return x.masked_fill(zero, 1.0).sqrt().masked_fill(zero, 0.0)


class Stepper:
    """The optimizer's step as a function of flat tensors: ``(theta, gradient, state) → (theta, state)``."""

    def __init__(self, optimizer: torch.optim.Optimizer, group: Mapping[str, Any]) -> None:
        clone = object.__new__(type(optimizer))
        clone.__dict__.update(optimizer.__dict__)
        clone.__dict__.pop("step", None)  # a scheduler's wrapper would step the user's optimizer
        clone.__dict__["_optimizer_step_pre_hooks"] = OrderedDict()
        clone.__dict__["_optimizer_step_post_hooks"] = OrderedDict()
        plain = {key: value for key, value in group.items() if key not in ("params", "param_names")}
        for key in ("foreach", "fused", "capturable", "differentiable"):
            if key in plain:
                plain[key] = False
        self._clone, self.settings = clone, plain
        self.name = type(optimizer).__name__

    def step(self, theta: Tensor, gradient: Tensor, state: State) -> tuple[Tensor, State]:
        """One update; nothing that is given changes."""
        p = theta.detach().clone()
        own = {k: v.detach().clone() if isinstance(v, Tensor) else v for k, v in state.items()}
        after = self._run(p, gradient.detach().clone(), own)
        return p.detach(), {k: v.detach() if isinstance(v, Tensor) else v for k, v in after.items()}

    def derivative(
        self, theta: Tensor, gradient: Tensor, state: State
    ) -> dict[str, dict[str, Tensor]]:
        """``[out][in]`` (m,): how each entry's new value depends on its old ones.

        ``out`` is ``"theta"`` or a key of the state after the step, ``in`` also ``"g"``; blocks of zeros are left out.
        """
        sources = {"theta": theta, "g": gradient}
        sources |= {key: state[key] for key in tensors_of(state, theta.shape)}
        leaves = {key: value.detach().clone().requires_grad_() for key, value in sources.items()}
        with torch.enable_grad():
            inner = {key: leaf.clone() for key, leaf in leaves.items()}
        own = {k: v.clone() if isinstance(v, Tensor) else v for k, v in state.items()}
        own |= {key: inner[key] for key in inner if key in state}
        p = inner["theta"]
        with Recorded(p, inner["g"]) as mode:
            after = self._run(p, inner["g"], own)
        if mode.signs:
            raise UndecidedError(
                f"{self.name} takes signs of gradients: its steps have a fixed size, so that a small difference "
                "neither grows nor shrinks until a sign differs, and its derivative says nothing"
            )
        plain, _ = self.step(theta, gradient, state)
        if float((plain - p.detach()).norm()) > 1e-9 * float((plain - theta).norm()):
            raise UndecidedError(
                f"the step of {self.name} does not come out the same while it is being differentiated: its code looks "
                "at what its tensors are, and its derivative is not to be trusted"
            )
        found = {"theta": p, **{key: after[key] for key in tensors_of(after, theta.shape)}}
        out: dict[str, dict[str, Tensor]] = {}
        for key, value in found.items():
            row = out.setdefault(key, {})
            if value.grad_fn is None:
                continue
            parts: Sequence[Any] = torch.autograd.grad(
                value.sum(), list(leaves.values()), retain_graph=True, allow_unused=True
            )
            row |= {
                source: part
                for source, part in zip(leaves, parts, strict=True)
                if part is not None and bool(part.any())
            }
        if not all(bool(b.isfinite().all()) for row in out.values() for b in row.values()):
            raise UndecidedError(f"the derivative of the step of {self.name} is not finite")
        return out

    def _run(self, p: Tensor, gradient: Tensor, state: State) -> State:
        """The optimizer's own code on one parameter; it is changed in place."""
        p.grad = gradient
        self._clone.param_groups = [{**self.settings, "params": [p]}]
        self._clone.state = defaultdict(dict)
        if state:
            self._clone.state[p] = state
        try:
            self._clone.step()
        except (TypeError, ValueError, RuntimeError, AttributeError, KeyError) as error:
            raise UndecidedError(
                f"one step of {self.name} could not be followed: {type(error).__name__}: {error}. It needs more than "
                "the gradient of its parameters (a closure, its own attributes), or operations without a derivative"
            ) from error
        return dict(self._clone.state[p])


def tensors_of(state: State, shape: torch.Size) -> list[str]:
    """Keys of the state that belong to the entries of a parameter."""
    return [
        key
        for key, value in state.items()
        if torch.is_tensor(value)
        and value.is_floating_point()
        and value.shape == shape
        and key not in SCALARS
    ]
