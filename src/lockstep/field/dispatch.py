"""Receives every ATen op of a run and decides how it is done. The order of the questions:

1. does it draw noise? fresh symbols;
2. are all operands known floats? PyTorch's own kernel;
3. does it only move entries? the same move on the stored residues;
4. has it a rule? the rule;
5. has PyTorch a decomposition? that, op by op;
6. otherwise the op is noted as missing and the run goes on with placeholders, so that one error can
   name every missing op; nothing is ever decided from such a run.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._decomp import decomposition_table
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_map

from ..errors import ControlFlowError, LockstepError, MissingRuleError, UndecidedError
from . import complexes
from . import rules as _rules  # noqa: F401  registers every rule
from .arithmetic import STORE, Field
from .coarse import BYTE
from .nest import leaves, mapped, rebuilt
from .ops import op_of
from .outer import Factors, worthwhile
from .registry import MOVES, NOISE, REFUSED, RULES, Rule
from .residue import (
    FAR_BELOW,
    Cell,
    Promised,
    Residue,
    embed_constant,
    has_infinite,
    known,
    promised,
    symbolic,
)
from .running import claimed, running


class Engine(TorchDispatchMode):
    """One run of a model over one field. ``where()`` tells the current module path for messages.

    ``on_product(name, operands, result)`` is told of every op that has a rule (used to find the units of
    weights whose module is never called). ``missing`` lists ops without a rule, ``noisy`` the modules that
    drew noise. A ``shaken`` run asks what reaches what, not for numbers: constants are symbols, and gradients
    are multiplied by symbols after every op.
    """

    def __init__(self, field: Field, *, quiet_noise: bool = False, shaken: bool = False) -> None:
        super().__init__()
        self.field = field
        self.quiet_noise = quiet_noise
        self.shaken = shaken
        self.choices: list[Tensor] | None = None
        self.selective = False  # may constants made in forward() depend on choices, or on integers of the example?
        self._replayed = 0
        self.where: Callable[[], str] = lambda: ""
        self.libraries: tuple[str, ...] = LIBRARIES
        self.on_product: Callable[[str, tuple[Any, ...], Any], None] | None = None
        self.missing: dict[str, str] = {}
        self.noisy: dict[str, None] = {}
        self.track_reads = True
        # Of the rule at work: id of each tensor it was given -> what the model gave; may infinities occur?
        self.operands: dict[int, Tensor] = {}
        self.infinite = False
        self.name = ""
        self.choosing = False  # has the rule at work consulted a predicate, an order or a rounding?
        self.power = 1  # how often it multiplies an operand with itself
        self.assumed: dict[str, None] = {}
        # Maxima: storage of the value -> what it is the extreme of; storage of the index -> who may be meant by it.
        self.extremes: dict[int, tuple[Tensor, Tensor, Tensor, tuple[int, ...]]] = {}
        self.meetings: list[
            tuple[Tensor, Tensor, Tensor]
        ] = []  # scattered maxima: element, extreme, predicate
        self.normalised: list[
            tuple[Tensor, Tensor]
        ] = []  # x - logsumexp(x), and its exponential: the softmax of x
        self._shares: dict[int, tuple[Tensor, Any]] = {}
        # Storages of integers and booleans made in this run; of those that predicates were written into, what
        # stands for them since (the tensor itself is kept, so that its storage is not given to another).
        self._made: set[int] = set()
        self._shadows: dict[int, tuple[Tensor, Cell]] = {}
        self.backward = False

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here; PyTorch's guard against it would import the compiler, seconds of it."""
        return False

    def __enter__(self) -> Engine:
        running.append(self)
        super().__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        super().__exit__(*exc)
        running.remove(self)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return self.run(func, args, kwargs or {})

    # -- the decision ---------------------------------------------------------------------------

    def run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        op = op_of(func)
        if op.sight and isinstance(args[0], Residue) and not args[0].known:
            return _seen(func, args[0], args[1:], kwargs)
        if func is torch.ops.aten.view.dtype and isinstance(args[0], Residue) and not args[0].known:
            raise self.refuse_value(f"a look at its bits ({func})")
        name = op.name
        flat, spec = leaves((args, kwargs)), (args, kwargs)
        if self._shadows:
            flat = [self._shadow(x) for x in flat]
            args, kwargs = spec = rebuilt(spec, iter(flat))
        guests = [x for x in flat if isinstance(x, Residue)]
        if name in NOISE and _draws_floats(func, args, kwargs, flat):
            return self._noise(func, name, op.inplace, args, kwargs)
        if op.reseen and guests:
            return self._reshape(func, name, args, kwargs)
        if name != "_conj" and all(g.known for g in guests):
            return self._native(func, name, flat, spec, guests)
        if name in complexes.LOOKS:
            return complexes.LOOKS[name](*args)
        if self.track_reads:
            self._mark_reads(func, name, guests, args)
        writes = op.inplace or bool(_outs(func, kwargs))
        if name in MOVES and not writes:
            return self._move(func, flat, spec)
        rule = RULES.get(name)
        if complexes.concerned(name, flat):
            result = self._complex(func, name, writes, args, kwargs)
        elif rule is not None:
            result = self._apply(func, rule, name, flat, spec)
        elif name in MOVES:
            functional = getattr(torch.ops.aten, name)
            result = functional(*args, **_without_outs(func, kwargs))
        else:
            result = self._decompose(func, name, writes, args, kwargs)
        if writes:
            return self._write(func, result, args, kwargs)
        return result

    # -- 1 noise --------------------------------------------------------------------------------

    def _noise(
        self, func: Any, name: str, inplace: bool, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        self.noisy.setdefault(self.where())
        result = NOISE[name](self, func, *args, **kwargs)
        return self._write(func, result, args, kwargs) if inplace else result

    def fresh(self, shape: Any, dtype: torch.dtype) -> Residue:
        """Fresh noise symbols; drawn from torch's global generator, so that checkpointing repeats them.

        With ``quiet_noise`` each is the constant 1: the network as it would be without noise.
        """
        shape = torch.Size(shape)
        if not shape:
            return self._scalar(dtype)
        quiet = self.quiet_noise
        drawn = torch.ones(shape, dtype=STORE) if quiet else self.field.symbols(shape, None)
        noise = symbolic(drawn, dtype)
        noise.cell.choice = True
        return noise

    def _scalar(self, dtype: torch.dtype) -> Residue:
        """A single number drawn from [0, 1): code branches on it (layer drop), so it is a true float.

        Each lane draws from a third of its own, the first from the upper one, which drops nothing as a rule: so
        at every step some lane takes the branch and some lane does not, as far as its probability allows.
        """
        if self.quiet_noise:
            return known(torch.ones((), dtype=dtype))
        third = 2 - self.field.lane % 3
        return known(((torch.rand((), dtype=torch.float64) + third) / 3).to(dtype))

    # -- 2 known floats -------------------------------------------------------------------------

    def _native(
        self, func: Any, name: str, flat: list[Any], spec: Any, guests: list[Residue]
    ) -> Any:
        plain = [x.stored if isinstance(x, Residue) else x for x in flat]
        args, kwargs = rebuilt(spec, iter(plain))
        with torch.no_grad():
            result = func(*args, **kwargs)
        if (
            name == "_efficientzerotensor"
        ):  # forward-mode derivatives: zeros without storage, which no kernel may read
            result = torch.zeros(result.shape, dtype=result.dtype)
        if name in ("empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided"):
            tree_map(lambda t: t.zero_() if isinstance(t, Tensor) else t, result)
        # What is made of nothing, or of the model's own: the same on every example. Joins and writes may follow
        # lengths that were read from the example.
        fixed = name in SHAPED or (
            name not in JOINS
            and all(isinstance(x, Residue) and x.cell.fixed for x in flat if isinstance(x, Tensor))
        )
        owners = {_storage(g.stored): g for g in guests}
        sources = {
            _storage(x): x for x in flat if isinstance(x, Tensor) and not isinstance(x, Residue)
        }
        if name == "lift_fresh":  # torch.tensor(0.0): made just now, and perhaps summed into
            sources = {}

        def wrap(t: Any) -> Any:
            if not isinstance(t, Tensor):
                return t
            owner = owners.get(_storage(t))
            if owner is not None:
                owner.cell.fixed &= op_of(func).view
                same = next((g for g in guests if g.stored is t), None)
                return same if same is not None else Residue(t, owner.cell, t.dtype)
            if t.layout is not torch.strided or not _is_number(t) or _storage(t) in sources:
                if _storage(t) not in sources:
                    self._made.add(_storage(t))
                return t  # integers, and views of the caller's own tensors, stay what they are
            made = known(t)
            made.cell.fixed = fixed
            return made

        return mapped(wrap, result)

    # -- 3 moves --------------------------------------------------------------------------------

    def _move(self, func: Any, flat: list[Any], spec: Any) -> Any:
        tensors = [x for x in flat if isinstance(x, Tensor)]
        if any(_symbolic_index(x) for x in tensors[1:]):
            raise self.refuse_value(f"an index or a shape (in {func})")
        views = [self.residues(x, picked=True) if self._is_value(x) else x for x in flat]
        args, kwargs = rebuilt(spec, iter(views))
        kwargs = {
            k: v for k, v in kwargs.items() if k not in ("dtype", "device", "layout", "pin_memory")
        }
        result = func(*args, **kwargs)
        cells = {_storage(x.stored): x for x in tensors if isinstance(x, Residue)}
        dtype = _claim(tensors)
        guests = [x for x in tensors if isinstance(x, Residue)]
        infinite = any(g.cell.infinite for g in guests if not g.known) or any(
            v is not x and not (isinstance(x, Residue) and not x.known) and has_infinite(v)
            for v, x in zip(views, flat, strict=True)
            if isinstance(v, Tensor) and v.is_floating_point()
        )
        degree = max(g.degree for g in guests)
        whole = all(g.cell.whole for g in guests)
        choice, data = any(g.cell.choice for g in guests), any(g.cell.data for g in guests)

        def wrap(t: Any) -> Any:
            if not isinstance(t, Tensor):
                return t
            owner = cells.get(_storage(t))
            if owner is not None:
                return Residue(t, owner.cell, owner.dtype)
            if not _is_number(t):
                return t  # batch sizes of packed sequences, lengths
            out = symbolic(t, dtype, degree)
            out.cell.infinite, out.cell.whole = infinite, whole
            out.cell.choice, out.cell.data = choice, data
            return out

        return mapped(wrap, result)

    def _reshape(self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """``transpose_`` and its kin: the same storage seen another way, under the same Python object."""
        target = args[0]
        if name in REFUSED or not isinstance(target, Residue):
            self._placeholder(func, name, args, kwargs)
            raise self.missing_error()
        view = _functional(func, name)(target.stored, *args[1:], **kwargs)
        with no_dispatch():
            func(*args, **kwargs)  # sizes and strides that autograd and the user see
        target._view, target._version_seen = view, target.cell.version
        return target

    # -- 4 rules --------------------------------------------------------------------------------

    def _apply(self, func: Any, rule: Rule, name: str, flat: list[Any], spec: Any) -> Any:
        args, kwargs = spec
        if kwargs:
            kwargs = {k: v for k, v in _without_outs(func, kwargs).items() if k != "layout"}
            flat, spec = leaves((args, kwargs)), (args, kwargs)
        plain, self.operands, infinite, far = self._opened(rule, name, args, flat)
        if infinite and not rule.infinite:
            raise UndecidedError(
                f"aten::{name} meets an infinite entry (a mask of -inf, or a constant below -9999) "
                f"{self._place()}; the engine follows infinities only through masking, sums, maxima and "
                "softmax: apply the mask right before the softmax"
            )
        inner_args, inner_kwargs = rebuilt(spec, iter(plain))
        tensors = [x for x in flat if isinstance(x, Tensor)]
        symbols = [x for x in tensors if isinstance(x, Residue)]
        degree = _degree(rule, [x.degree for x in symbols if not x.known] or [1])
        dtype = rule.gives or kwargs.get("dtype") or _result_dtype(func, args, kwargs, tensors)
        if self.backward and name == "mm":
            a, b = inner_args
            shape = torch.Size((a.shape[0], b.shape[1]))
            if worthwhile(shape.numel(), a.shape[1]):
                return Factors(a, b, shape).pending(self.field, dtype, degree)
        self.infinite = infinite = infinite or (far and rule.infinite)
        self.name, self.choosing, self.power = name, False, 1
        whole = name == "_to_copy" and not claimed(plain[0]).is_floating_point
        result = self._ruled(func, rule, name, (inner_args, inner_kwargs), (args, kwargs))
        degree *= self.power
        choice = self.choosing or any(x.cell.choice for x in symbols)
        owned = {_storage(x) for x in plain if isinstance(x, Tensor)}

        def wrap(t: Any) -> Any:
            if isinstance(t, Factors):
                return t.pending(self.field, dtype, degree)
            if not isinstance(t, Tensor) or isinstance(t, Residue) or t.dtype is not STORE:
                if type(t) is Tensor and _storage(t) not in owned:
                    self._made.add(_storage(t))
                return t
            # A result is a storage of its own, entry by entry: it may be written to in place later.
            if _storage(t) in owned or (
                not t.is_contiguous() and torch._debug_has_internal_overlap(t)
            ):
                t = t.clone(memory_format=torch.contiguous_format)
            out = symbolic(self._shake(t, name, plain), dtype, degree)
            out.cell.infinite = infinite and has_infinite(t)
            out.cell.whole, out.cell.choice = whole, choice
            return out

        wrapped = mapped(wrap, result)
        if self.on_product is not None:
            self.on_product(name, args, wrapped)
        return wrapped

    def _opened(
        self, rule: Rule, name: str, args: tuple[Any, ...], flat: list[Any]
    ) -> tuple[list[Any], dict[int, Tensor], bool, bool]:
        """What the rule is given for each of ``flat``, :attr:`operands`, and whether an infinity or a mask is there."""
        infinite = far = False
        unread = {id(x) for x in rule.unread(*args)} if rule.unread else set()
        if unread:  # what else is the same tensor is read
            unread = {n for n in unread if [id(x) for x in flat].count(n) == 1}
        plain: list[Any] = []
        operands: dict[int, Tensor] = {}
        for x in flat:
            value = x
            if not isinstance(x, Tensor):
                if isinstance(x, float) and (x <= FAR_BELOW or x == torch.inf):
                    infinite, far = infinite or x in (torch.inf, -torch.inf), True
            else:
                if self._is_value(x) and id(x) not in unread:
                    value = self.residues(
                        x,
                        canvas=not plain and name in WRITES,
                        picked=name in PICKS,
                        coarse=name in OF_BYTES,
                    )
                    infinite = infinite or self._last_infinite
                operands[id(value)] = x
            plain.append(value)
        return plain, operands, infinite, far

    def _ruled(self, func: Any, rule: Rule, name: str, inner: Any, given: Any) -> Any:
        """The rule's result. If it fails, either the model is at fault, and PyTorch says so itself, or the rule."""
        try:
            return rule.function(self.field, *inner[0], **inner[1])
        except LockstepError:
            raise
        except (
            RuntimeError,
            TypeError,
            ValueError,
            IndexError,
            AssertionError,
            AttributeError,
            KeyError,
        ) as error:
            args, kwargs = tree_map(_shape_only, given)
            with suppress(NotImplementedError):
                func(*args, **kwargs)
            raise UndecidedError(
                f"the rule for aten::{name} cannot do this {self._place()}: {type(error).__name__}: {error}. "
                "Please report it with the arguments of that line, or write it with other operations"
            ) from error

    def _is_value(self, x: Any) -> bool:
        """Float tensors and symbolic predicates; integers and true booleans are not values."""
        return isinstance(x, Residue) or (
            isinstance(x, Tensor) and _is_number(x) and x.layout is torch.strided
        )

    def residues(
        self, x: Tensor, canvas: bool = False, picked: bool = False, coarse: bool = False
    ) -> Tensor:
        """The residues of a value; constants are embedded now, bytes widened unless ``coarse`` ones will do.

        A ``canvas`` is about to be written into; of what is ``picked`` the example decides where it stands.
        """
        if isinstance(x, Residue) and not x.known:
            self._last_infinite = x.cell.infinite
            return x.stored.to(STORE) if x.stored.dtype is BYTE and not coarse else x.stored
        if x.is_complex():
            pairs = complexes.as_real(x)
            return torch.view_as_complex(self.residues(pairs, canvas))
        value = x.stored if isinstance(x, Residue) else x
        out, self._last_infinite = embed_constant(self.field, value)
        made_now = self.backward and not (isinstance(x, Residue) and not x.cell.late)
        if self.shaken and value.is_floating_point() and not made_now and not canvas:
            shaken = self.field.symbols(out.shape, None)
            if (
                self.selective and isinstance(x, Residue) and (picked or not x.cell.fixed)
            ):  # one_hot of a choice
                shaken *= out != 0
            return torch.where(torch.isinf(out), out, shaken)
        return out

    def chosen(self, ranks: Tensor) -> Tensor:
        """Ranks by which a maximum or a top k is chosen: written to ``choices``, or, in a shaken run, read from it."""
        if self.choices is None:
            return ranks
        if not self.shaken:
            self.choices.append(ranks)
            return ranks
        self._replayed += 1
        earlier = self.choices[self._replayed - 1 : self._replayed]
        return earlier[0] if earlier and earlier[0].shape == ranks.shape else ranks

    def _shake(self, gradient: Tensor, name: str, operands: list[Any]) -> Tensor:
        """Each entry times its own symbol: what cancels stays no longer, what is zero stays zero.

        The formulas of a softmax and of the norms cancel inside the rule (over a single entry to exactly zero):
        there every entry that a live one is normalised with is alive, unless a mask has taken it out.
        """
        if not (self.shaken and self.backward) or has_infinite(gradient):
            return gradient
        symbols = self.field.symbols(gradient.shape, None)
        if name not in COUPLING:
            return self.field.mul(gradient, symbols)
        live = operands[0] != 0
        if name not in COUPLING_ROWS or gradient.shape != live.shape:
            return symbols * bool(live.any())
        alive = live.any(-1, keepdim=True)
        if name in MASKED:
            alive = alive & (operands[1] != MASKED[name])
        return symbols * alive

    # -- 5 decompositions, 6 missing --------------------------------------------------------------

    def _decompose(
        self, func: Any, name: str, writes: bool, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if name in REFUSED:
            return self._placeholder(func, name, args, _without_outs(func, kwargs))
        target = _functional(func, name) if writes else func
        kwargs = _without_outs(func, kwargs)
        decomposition = decomposition_table.get(target)
        with self:
            if decomposition is not None:
                result = decomposition(*args, **kwargs)
            else:
                result = target.decompose(*args, **kwargs)
        if result is not NotImplemented:
            return result
        return self._placeholder(target, name, args, kwargs)

    def _complex(
        self, func: Any, name: str, writes: bool, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        target = _functional(func, name) if writes else func
        kwargs = _without_outs(func, kwargs)
        with self:
            result = complexes.compute(target, name, args, kwargs)
            if result is NotImplemented and target in decomposition_table:
                result = decomposition_table[target](*args, **kwargs)
            if result is NotImplemented:
                result = target.decompose(*args, **kwargs)
        if result is not NotImplemented:
            return result
        self.missing.setdefault(
            f"aten::{name}",
            f"{self._place()}; on complex numbers it is not followed: write real and imaginary parts as two real "
            "tensors",
        )
        raise self.missing_error()

    def _placeholder(
        self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        shapes = [tuple(x.shape) for x in leaves(args) if isinstance(x, Tensor)]
        why = f"; {REFUSED[name]}" if name in REFUSED else ""
        space = func._schema.name.split("::")[0]
        self.missing.setdefault(f"{space}::{name}", f"shapes {shapes} {self._place()}{why}")
        try:
            result = func(*tree_map(_shape_only, args), **tree_map(_shape_only, kwargs))
        except Exception:  # noqa: BLE001  whatever the meta kernel objects to, the op is missing
            raise self.missing_error() from None

        def fill(t: Any) -> Any:
            if not isinstance(t, Tensor):
                return t
            if t.is_complex():
                raise self.missing_error()
            if t.is_floating_point():
                return self.fresh(t.shape, t.dtype)
            return torch.zeros(t.shape, dtype=t.dtype)

        return tree_map(fill, result)

    def share(self, index: Tensor, predicates: Any) -> None:
        """Remember the predicates behind an index of a maximum, for the gradient that comes back to it."""
        self._shares[_storage(index)] = (index, predicates)

    def shared(self, index: Tensor) -> Any:
        """What :meth:`share` remembered of this index, or a view of it; None for any other."""
        found = self._shares.get(_storage(index))
        return found[1] if found is not None and index.numel() == found[0].numel() else None

    def missing_error(self) -> MissingRuleError:
        """All ops without a rule that this run met, in one message."""
        lines = "\n".join(f"  {op}: {where}" for op, where in self.missing.items())
        return MissingRuleError(
            f"{len(self.missing)} operation(s) of this model have no rule over the finite field:\n{lines}\n"
            "A rule is one function: from lockstep.field import rule; @rule('name') def name(f, *args) "
            "computing the op on residues (see src/lockstep/field/README.md). Or audit the parts of the "
            "model before and after it."
        )

    # -- writing in place -------------------------------------------------------------------------

    def _write(self, func: Any, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        targets = _outs(func, kwargs) or [args[0]]
        sources = result if isinstance(result, (tuple, list)) else (result,)
        for target, source in zip(targets, sources, strict=False):
            self._store(func, target, source)
        return targets[0] if len(targets) == 1 else tuple(targets)

    def _store(self, func: Any, target: Any, source: Any) -> None:
        if not isinstance(target, Residue):
            if isinstance(source, Residue) and not source.known:
                if _storage(target) in self._made:
                    self._store(func, self._cast_shadow(target), source)
                    return
                raise UndecidedError(
                    f"{func} writes a value of the network into an ordinary tensor of shape "
                    f"{tuple(target.shape)} {self._place()}; register that tensor as a buffer "
                    "(register_buffer) or create it inside forward()"
                )
            target.copy_(source.stored if isinstance(source, Residue) else source)
            return
        target.cell.promote(self.field)
        if isinstance(source, Tensor) and (isinstance(source, Residue) or _is_number(source)):
            values = self.residues(source)
            target.cell.infinite = target.cell.infinite or self._last_infinite
            if isinstance(source, Residue):
                target.raise_degree(source.degree)
                target.cell.choice |= source.cell.choice
        else:
            values = self.field.integer(source.long()) if isinstance(source, Tensor) else source
        target.stored.copy_(values)

    def _cast_shadow(self, target: Tensor) -> Residue:
        """Residues in place of the integers or booleans of this run's own ``target``, and of all its views."""
        length = target.untyped_storage().nbytes() // target.element_size()
        flat = self.field.embed(torch.as_strided(target, (length,), (1,), 0).long())
        cell = Cell(flat, known=False)
        cell.whole = True
        self._shadows[_storage(target)] = target, cell
        target.untyped_storage().resize_(
            0
        )  # tolist() looks there without asking: an error, not old values
        return self._shadow(target)

    def _shadow(self, x: Any) -> Any:
        """What stands for a tensor of integers or booleans that residues were written into."""
        if not isinstance(x, Tensor) or isinstance(x, Residue) or _storage(x) not in self._shadows:
            return x
        cell = self._shadows[_storage(x)][1]
        place = torch.as_strided(cell.flat, x.shape, x.stride(), x.storage_offset())
        return Residue(place, cell, x.dtype)

    # -- what was read of each parameter -----------------------------------------------------------

    def _mark_reads(
        self, func: Any, name: str, guests: list[Residue], args: tuple[Any, ...]
    ) -> None:
        unread = [g for g in guests if g.cell.parameter is not None and not g.cell.all_read]
        if not unread or op_of(func).view:
            return
        if any(isinstance(x, Tensor) and x.numel() == 0 for x in leaves(args)):
            return
        for g in unread:
            rows = _rows_read(name, args, g)
            if rows is None and g.numel() == _length(g.cell):
                g.cell.all_read = True
                continue
            seen = complexes.as_real(g) if g.is_complex() else g
            region = torch.as_strided(
                read_mask(g.cell), seen.shape, seen.stride(), seen.storage_offset()
            )
            if rows is None:
                region.fill_(True)
            else:
                dim, index = rows
                region.index_fill_(dim, index, True)

    # -- words for messages -----------------------------------------------------------------------

    def assume_apart(self) -> None:
        """Two values that vary continuously are never equal: printed with the verdict, as it is an assumption."""
        line = user_line(self.libraries).rpartition("/")[2]
        self.assumed.setdefault(f"values that vary continuously are never exactly equal ({line})")

    def in_formula(self) -> bool:
        """Whether autograd itself asks, not Python code of a backward or a checkpointed forward pass."""
        frame = sys._getframe() if self.backward else None
        while frame is not None and frame.f_code.co_name != "_engine_run_backward":
            if not frame.f_code.co_filename.startswith(self.libraries):
                return False
            frame = frame.f_back
        return frame is not None

    def _place(self) -> str:
        module = self.where()
        inside = f"in module {module!r}" if module else "at the top of the model"
        line = user_line(self.libraries)
        return f"{inside}, called from {line}" if line else inside

    def refuse_value(self, what: str) -> ControlFlowError:
        """The error for Python code that wants to know the value of a symbol."""
        return ControlFlowError(
            f"{what} depends on the value of a float {self._place()}. The audit is about any data, so it "
            "cannot follow a branch, a loop or a shape that depends on values. Make the branch depend on "
            "shapes or integers, replace it by torch.where, or audit with data='given'."
        )


MASKED = {"_softmax_backward_data": 0.0, "_log_softmax_backward_data": -torch.inf}
"""What these were given as the result where a mask of minus infinity took an entry out."""

COUPLING_ROWS = frozenset((*MASKED, "native_layer_norm_backward"))
COUPLING = COUPLING_ROWS | {"native_batch_norm_backward", "native_group_norm_backward"}
"""Backward formulas of ops that normalise; those of rows couple the last dimension only, as a rule."""

SHAPED = frozenset(
    "zeros_like ones_like full_like empty_like new_zeros new_ones new_full new_empty new_empty_strided".split()
)
"""Ops of whose operand only the shape counts."""

OF_BYTES = frozenset("mm addmm linear convolution convolution_backward embedding".split())
"""Ops whose rules take the weights of a coarse point as they are."""

PICKS = frozenset(("where", "masked_fill"))
"""Ops that put a constant where a condition says, and conditions may depend on the example."""

JOINS = frozenset(("cat", "stack", "hstack", "vstack", "block_diag", "constant_pad_nd"))
"""Ops whose shapes may: ones and zeros joined by length are a mask."""

WRITES = frozenset(
    "index_put _index_put_impl _unsafe_index_put index_add index_copy scatter scatter_add scatter_reduce "
    "slice_scatter select_scatter masked_scatter".split()
)
"""Ops whose first operand is a canvas for the others."""


# -- small questions ------------------------------------------------------------------------------


def _is_number(x: Tensor) -> bool:
    return x.is_floating_point() or x.is_complex()


def _symbolic_index(x: Tensor) -> bool:
    return isinstance(x, Residue) and not x.known and not _is_number(x)


def _seen(func: Any, x: Residue, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Residues seen another way: the same cell. What is still to be computed stays so."""
    cell = x.cell
    if isinstance(cell, Promised) and cell.pending:
        shape = func(x._view, *args, **kwargs)
        if isinstance(shape, Tensor):
            return promised(shape, cell, x.dtype)
    result = func(x.stored, *args, **kwargs)
    if isinstance(result, Tensor):
        return Residue(result, cell, x.dtype)
    return mapped(lambda t: Residue(t, cell, x.dtype), result)


def _functional(func: Any, name: str) -> Any:
    packet = getattr(torch.ops.aten, name)
    overload = func._overloadname
    for candidate in (
        overload,
        overload.replace("_out", ""),
        overload.replace("out", "default"),
        "default",
    ):
        if candidate in packet.overloads():
            return getattr(packet, candidate)
    return getattr(packet, packet.overloads()[0])


def _outs(func: Any, kwargs: dict[str, Any]) -> list[Any]:
    return [kwargs[name] for name in op_of(func).outs if kwargs.get(name) is not None]


def _without_outs(func: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    names = op_of(func).outs
    return {k: v for k, v in kwargs.items() if k not in names} if names else kwargs


def _shape_only(x: Any) -> Any:
    """A tensor on the meta device in place of ``x``: shapes and dtypes as PyTorch would find them."""
    if not isinstance(x, Tensor):
        return x
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="meta")


def _degree(rule: Rule, operands: list[int]) -> int:
    if rule.degree == "one":
        return 1
    if rule.degree == "max":
        return max(operands)
    return sum(operands) + (rule.degree == "more")


def _result_dtype(
    func: Any, args: Any, kwargs: dict[str, Any], tensors: list[Tensor]
) -> torch.dtype:
    """What the result claims to be. Predicates and symbolic integers promote by rules we leave to PyTorch."""
    if any(t.is_floating_point() for t in tensors):
        return _claim(tensors)
    try:
        with torch.no_grad():
            result = func(*tree_map(_shape_only, args), **tree_map(_shape_only, kwargs))
    except (
        RuntimeError,
        NotImplementedError,
    ):  # asks for values: the rule will say what it thinks of that
        return _claim(tensors)
    first = result[0] if isinstance(result, (tuple, list)) else result
    return first.dtype if isinstance(first, Tensor) else _claim(tensors)


def _storage(t: Tensor) -> int:
    return t.untyped_storage()._cdata if t.layout is torch.strided else id(t)


def _claim(tensors: list[Tensor]) -> torch.dtype:
    """The dtype PyTorch's promotion would give: zero-dimensional tensors weigh less."""
    floats = [t for t in tensors if _is_number(t)]
    if not floats:
        return tensors[0].dtype if tensors else torch.get_default_dtype()
    if len({t.dtype for t in floats}) == 1:
        return floats[0].dtype
    pool = [t for t in floats if t.dim()] or floats
    dtype = pool[0].dtype
    for t in pool[1:]:
        dtype = torch.promote_types(dtype, t.dtype)
    return dtype


def _draws_floats(func: Any, args: Any, kwargs: Any, flat: list[Any]) -> bool:
    dtype = kwargs.get("dtype")
    if dtype is not None:
        return bool(dtype.is_floating_point)
    first = args[0] if args and isinstance(args[0], Tensor) else None
    return first is None or first.is_floating_point()


def read_mask(cell: Cell) -> Tensor:
    """Boolean storage beside a parameter's cell: which entries an op has read."""
    if cell.read is None:
        cell.read = torch.zeros(_length(cell), dtype=torch.bool)
    return cell.read


def _length(cell: Cell) -> int:
    """Residues, or bytes, in the storage of a parameter's cell."""
    return cell.flat.untyped_storage().nbytes() // (1 if cell.flat.dtype is BYTE else 4)


def _rows_read(name: str, args: tuple[Any, ...], parameter: Residue) -> tuple[int, Tensor] | None:
    """Rows of ``parameter`` that an indexing op touches, as (dimension, indices); None: all of it."""
    if name == "_grouped_mm" and args[1] is parameter and parameter.dim() == 3 and len(args) > 2:
        sizes = torch.diff(args[2], prepend=torch.zeros_like(args[2][:1]))
        return 0, sizes.nonzero().view(-1)
    if not args or args[0] is not parameter:
        return None
    if name == "embedding" or name.startswith("_embedding_bag"):
        return 0, args[1].reshape(-1).long()
    if name == "index_select":
        return args[1] % parameter.dim(), args[2].reshape(-1)
    if name == "index":
        used = [(d, i) for d, i in enumerate(args[1]) if i is not None]
        if len(used) == 1 and used[0][1].dtype is not torch.bool:
            return used[0][0], used[0][1].reshape(-1)
    return None


LIBRARIES = (str(Path(torch.__file__).parent), str(Path(__file__).parents[1]))


def user_line(libraries: tuple[str, ...] = LIBRARIES) -> str:
    """``file:line: code`` of the innermost frame outside PyTorch, Lockstep and what else is a library."""
    for frame in reversed(traceback.extract_stack()):
        if not frame.filename.startswith((*libraries, "<")):
            return f"{frame.filename}:{frame.lineno}: {frame.line}"
    return ""


paused = _disable_current_modes
"""Context in which tensors are ordinary again, for the library's own arithmetic amid a run."""


@contextmanager
def engine(field: Field, *, quiet_noise: bool = False, shaken: bool = False) -> Iterator[Engine]:
    """Run the body over ``field``; raises one error for all ops that had no rule."""
    guest = Engine(field, quiet_noise=quiet_noise, shaken=shaken)
    with guest:
        try:
            yield guest
        except Exception as error:
            if (
                guest.missing
            ):  # placeholders stand in for these ops: what went wrong later follows from that
                raise guest.missing_error() from error
            raise
    if guest.missing:
        raise guest.missing_error()
