"""Watches a forward pass and fingerprints the units of every :class:`Place`.

Most units are a module's output, seen by PyTorch's global forward hooks (the model's own hooks are left
alone). Some weights are used without their module ever being called (``F.multi_head_attention_forward``,
``F.linear(x, self.weight)``, the layers inside an LSTM): those are seen from the ops, because a residue tensor
knows whether it is a view of a parameter, and which rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ..field.dispatch import Engine, paused
from ..field.residue import Residue
from .attention import Heads
from .places import Place
from .records import ROWS, Product, fingerprint, pack, slices_print

PLAIN = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
PRODUCTS = {"mm": (0, 1), "bmm": (0, 1), "addmm": (1, 2), "baddbmm": (1, 2), "linear": (0, 1)}


class Recorder:
    """One forward pass. ``finish(parameters)`` returns layer → (U,) fingerprints.

    ``unseen`` are then the layers known by the entries of elementwise parameters alone (gains, biases): equal
    gains do not make equal units.
    """

    def __init__(
        self,
        engine: Engine,
        modules: Mapping[str, nn.Module],
        places: list[Place],
        keep_products: bool,
    ) -> None:
        self._engine, self._field = engine, engine.field
        self._modules = modules
        self._paths = {id(m): path for path, m in modules.items()}
        self._outputs = {p.module: p for p in places if p.source == "output"}
        self._taken = {p.module: p for p in places if p.source == "input"}
        self._places = places
        self._prints: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._rows: dict[str, Tensor] = {}  # parameter -> (ROWS, size of axis 0), from ops
        self._inputs: dict[str, Tensor] = {}  # parameter -> (ROWS, I), from ops
        self._hidden: dict[str, nn.RNNBase] = {
            path: m for path, m in modules.items() if isinstance(m, nn.RNNBase)
        }
        self._stack: list[str] = []
        self._heads = Heads(modules)
        self._multiplied: set[str] = set()
        self.unseen: set[str] = set()
        self.products: list[Product] | None = [] if keep_products else None
        self.called: set[str] = set()

    def path(self) -> str:
        return self._stack[-1] if self._stack else ""

    @contextmanager
    def watching(self) -> Iterator[None]:
        register_pre = torch.nn.modules.module.register_module_forward_pre_hook
        register = torch.nn.modules.module.register_module_forward_hook
        handles = [register_pre(self._enter), register(self._leave)]
        self._engine.where, self._engine.on_product = self.path, self._product
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            self._engine.on_product = None

    # -- module outputs ---------------------------------------------------------------------------

    def _enter(self, module: nn.Module, args: Any) -> None:
        path = self._paths.get(id(module))
        self._stack.append(self.path() if path is None else path)
        place = None if path is None else self._taken.get(path)
        if place is not None and args and isinstance(args[0], Residue):
            with paused():
                self._see(place, args[0])

    def _leave(self, module: nn.Module, _args: Any, output: Any) -> None:
        path = self._stack.pop() if self._stack else ""
        self.called.add(path)
        self._heads.leave(path)
        first = output[0] if isinstance(output, (tuple, list)) and output else output
        if isinstance(first, PackedSequence):
            first = first.data
        if not isinstance(first, Residue):
            return
        with paused():
            self._see_output(path, module, first, output)

    def _see_output(self, path: str, module: nn.Module, first: Residue, output: Any) -> None:
        if path in self._hidden and self._hidden[path] is module:
            self._recurrent_output(path, self._hidden[path], first, output)
            return
        place = self._outputs.get(path)
        if place is not None and self._paths.get(id(module)) == path:
            self._see(place, first)

    def _see(self, place: Place, x: Residue) -> None:
        values = self._engine.residues(x)
        if place.span > 1 and values.shape[place.axis] != place.width:
            values = values.flatten(place.axis, place.axis + place.span - 1)
        axis = _axis(place, values)
        if axis is not None:
            # By the number of the call, not by name: equal units of different modules look equal.
            call = self._counts.get(place.name, 0)
            self._add(place.name, fingerprint(self._field, values, axis, ("units", call)))

    def _recurrent_output(
        self, path: str, module: nn.RNNBase, sequence: Residue, output: Any
    ) -> None:
        """The top layer's hidden states; with a projection the ops show the states before it."""
        if module.proj_size:
            return
        top, size = module.num_layers - 1, module.hidden_size
        columns = self._print(sequence, -1, path)
        for n, suffix in enumerate(("", "_reverse") if module.bidirectional else ("",)):
            self._add(f"{path}[l{top}{suffix}]", columns[:, n * size : (n + 1) * size])

    def _print(self, x: Residue, axis: int, key: str) -> Tensor:
        values = self._engine.residues(x)
        return fingerprint(self._field, values, axis, (key, self._counts.get(key, 0)))

    def _add(self, name: str, prints: Tensor) -> None:
        """Modules that are called more than once: fingerprints of all calls add up (different rows each)."""
        self._counts[name] = self._counts.get(name, 0) + 1
        old = self._prints.get(name)
        self._prints[name] = prints if old is None else self._field.add(old, prints)

    # -- ops on parameters --------------------------------------------------------------------------

    def _product(self, name: str, args: tuple[Any, ...], result: Any) -> None:
        if name in ("_softmax", "_safe_softmax", "softmax") and isinstance(result, Residue):
            self._see_softmax(args, result)
        elif name in ("bmm", "baddbmm") and isinstance(result, Residue):
            a, b = args[PRODUCTS[name][0]], args[PRODUCTS[name][1]]
            self._heads.product(tuple(a.shape), tuple(b.shape), lambda: self._total(result))
        if name in PRODUCTS or name == "_grouped_mm":
            a, b = (args[i] for i in PRODUCTS.get(name, (0, 1)))
            factors = [x.cell.parameter for x in (a, b) if isinstance(x, Residue)]
            self._multiplied.update(p for p in factors if p)
        if name in PRODUCTS:
            if a.numel() == 0 or b.numel() == 0:
                return
            if isinstance(b, Residue) and b.cell.parameter and b.dim() == 2:
                self._matrix(a, b if name != "linear" else b.t(), result)
            elif (
                isinstance(a, Residue)
                and a.cell.parameter
                and a.dim() == 2
                and isinstance(b, Residue)
            ):
                self._matrix(b.t(), a.t(), result.t())
        elif name == "convolution":
            self._convolution(args, result)

    def _see_softmax(self, args: tuple[Any, ...], result: Residue) -> None:
        watched = any(
            self.path().startswith(p.name.removesuffix("[heads]")) for p in self._taken.values()
        )
        if not watched:
            self._heads.softmax(self.path(), tuple(result.shape), args[1])

    def _total(self, x: Residue) -> float:
        """The sum of all entries, exact: equal for two tensors that hold the same entries in any order."""
        return float(self._engine.residues(x).sum(dtype=torch.float64))

    def _matrix(self, a: Any, b: Any, result: Any) -> None:
        """a (S, I) @ b (I, O), ``b`` a view of a parameter."""
        parameter = b.cell.parameter
        assert parameter is not None
        if not isinstance(a, Residue):
            return
        key = f"{parameter} in"
        call = self._counts.get(key, 0)
        incoming = fingerprint(self._field, self._engine.residues(a), -1, ("in", call))
        self._counts[key] = call + 1
        old = self._inputs.get(parameter)
        same = old is not None and old.shape == incoming.shape
        self._inputs[parameter] = (
            self._field.add(old, incoming) if same and old is not None else incoming
        )
        if self._heads.waiting:
            self._heads.takes_in(self.path(), incoming.shape[1], self._total(a), incoming)
        if self.products is not None:
            self.products.append(Product(parameter, _input_axis(b), pack(incoming), self.path()))
        row = b.stride(1)
        if self._hooked(parameter):
            return
        if row == 0 or b.stride(0) > row:
            return  # x @ W with W (in, out): its columns, not its rows, are units
        start, total = b.storage_offset() // row, b.cell.flat.numel() // row
        rows = self._rows.setdefault(parameter, torch.zeros(ROWS, total))
        key = f"{parameter} out"
        call = self._counts.get(key, 0)
        prints = fingerprint(self._field, self._engine.residues(result), -1, ("out", call))
        self._counts[key] = call + 1
        rows[:, start : start + b.shape[1]] = self._field.add(
            rows[:, start : start + b.shape[1]], prints
        )

    def _convolution(self, args: tuple[Any, ...], result: Any) -> None:
        x, w = args[0], args[1]
        if not (isinstance(w, Residue) and w.cell.parameter and isinstance(x, Residue)):
            return
        dim = -(w.dim() - 1)
        if self._heads.waiting and args[-1] == 1:
            incoming = fingerprint(
                self._field, self._engine.residues(x), dim, f"{w.cell.parameter} in"
            )
            self._heads.takes_in(self.path(), incoming.shape[1], self._total(x), incoming)
        if self.products is not None and args[-1] == 1:
            prints = fingerprint(self._field, self._engine.residues(x), dim, "conv in")
            self.products.append(
                Product(w.cell.parameter, 0 if args[6] else 1, pack(prints), self.path())
            )
        if not args[6] and not self._hooked(w.cell.parameter):
            rows = fingerprint(self._field, self._engine.residues(result), dim, "conv out")
            self._rows.setdefault(w.cell.parameter, rows)

    def _hooked(self, parameter: str) -> bool:
        """Whether the module at work is a plain layer with this weight: the hook will see what comes out of it."""
        place = self._outputs.get(self.path())
        plain = type(self._modules.get(self.path())) in PLAIN
        return plain and place is not None and place.slices[0][0] == parameter

    # -- the end --------------------------------------------------------------------------------------

    def finish(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        """Fingerprints of every place; what no op or hook showed is judged by its own parameters."""
        out: dict[str, Tensor] = {}
        for place in self._places:
            out[place.name] = self._of(place, parameters)
            if place.source == "projection" and place.part == "v":
                self._heads_of(place.module, out)
        for name, prints in self._heads.prints.items():
            out.setdefault(name, _fold(prints))
        return out

    def _heads_of(self, module: str, out: dict[str, Tensor]) -> None:
        name = f"{module}[heads]"
        if name in self._heads.prints:
            out[name] = _fold(self._heads.prints[name])

    def _of(self, place: Place, parameters: dict[str, Tensor]) -> Tensor:
        def own() -> Tensor:
            return slices_print(self._field, parameters, place.slices, place.width, place.span)

        if place.name in self._prints:
            seen = pack(self._prints[place.name])
            # The function of an embedding's unit is a whole column, not the rows that the example uses.
            table = isinstance(self._modules.get(place.module), nn.Embedding)
            return seen + 7 * own() if table else seen
        if place.source == "hidden":
            inner = self._hidden_prints(place)
            return own() if inner is None else inner
        if place.source == "projection":
            return self._projection(place, parameters)
        if place.source == "output" and place.slices:
            rows = self._rows.get(place.slices[0][0])
            if rows is not None and rows.shape[1] == place.width:
                bias = slices_print(self._field, parameters, place.slices[1:], place.width)
                return pack(rows) * 7 + bias
        if not any(name in self._multiplied for name, _ in place.slices):
            self.unseen.add(place.name)
        return own()

    def _hidden_prints(self, place: Place) -> Tensor | None:
        """Hidden states inside a stack are what the next layer (or the projection) takes in."""
        module = self._hidden[place.module]
        names = {name.rsplit(".", 1)[-1]: name for name, _ in place.slices}
        own = next(iter(names.values()))
        prefix = own[: len(own) - len(own.rsplit(".", 1)[-1])]
        if module.proj_size:
            states = self._inputs.get(f"{prefix}weight_hr_{place.part}")
            return None if states is None else pack(states)
        layer = int(place.part[1:].split("_")[0])
        states = self._inputs.get(f"{prefix}weight_ih_l{layer + 1}")
        if states is None:
            return None
        size = module.hidden_size
        offset = size if place.part.endswith("_reverse") else 0
        return pack(states[:, offset : offset + size])

    def _projection(self, place: Place, parameters: dict[str, Tensor]) -> Tensor:
        first, last = place.rows
        rows = self._rows.get(place.slices[0][0])
        weight = parameters[place.slices[0][0]][first:last]
        own = {"weight": weight}
        slices: tuple[tuple[str, int], ...] = (("weight", 0),)
        if len(place.slices) > 1:
            letter = "qkv".index(place.part) * place.width
            own["bias"] = parameters[place.slices[1][0]][letter : letter + place.width]
            slices = (*slices, ("bias", 0))
        if rows is None:
            return slices_print(self._field, own, slices, place.width)
        bias = slices_print(self._field, own, slices[1:], place.width)
        return pack(rows[:, first:last]) * 7 + bias


def _fold(prints: Tensor) -> Tensor:
    """(ROWS, heads) int64 → (heads,)."""
    weights = torch.tensor([1, 3 << 20, 5 << 40], dtype=torch.int64)
    return (prints.long() * weights[:, None]).sum(0)


def _input_axis(b: Residue) -> int:
    """The parameter's axis along which its product's incoming units lie: 0 of ``(in, out)``, 1 of ``(out, in)``."""
    if 1 in b.shape:  # strides of size 1 say nothing
        return 0 if b.shape == b.cell.flat.shape else 1
    return 1 if b.stride(0) == 1 else 0


def _axis(place: Place, output: Tensor) -> int | None:
    """The dimension of ``output`` with the units, if the output has the shape that the class promises."""
    fits = -output.dim() <= place.axis < output.dim() and output.shape[place.axis] == place.width
    return place.axis if fits else None
