"""Work for other threads, while the main one runs the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Generic, TypeVar

import torch
from torch import Tensor

LARGE = 1 << 17
"""Entries below which a handover to another thread costs more than it saves."""

T = TypeVar("T")
S = TypeVar("S")


class Task(Generic[T]):
    """One call, made by another thread, or by the first that asks for its result if none has begun it."""

    def __init__(self, call: Callable[[], T], pool: ThreadPoolExecutor | None = None) -> None:
        self._call = call
        self._future: Future[T] = pool.submit(call) if pool is not None else Future()

    @classmethod
    def of(cls, value: T) -> Task[T]:
        """What need not be computed."""
        return cls(lambda: value)

    def result(self) -> T:
        """What the call returned; its exception is raised here."""
        if self._future.cancel():
            self._future = Future()
            self._future.set_result(self._call())
        return self._future.result()


def results(tasks: list[Task[T]]) -> list[T]:
    """Of all tasks, in their order: the other threads begin at the front, the one that asks at the end."""
    return [task.result() for task in reversed(tasks)][::-1]


class Aside:
    """Threads beside the main one: one fewer than PyTorch has been told to use."""

    def __init__(self, pool: ThreadPoolExecutor | None = None, others: int = 0) -> None:
        self._pool, self._others = pool, others

    def submit(self, call: Callable[[], T]) -> Task[T]:
        return Task(call, self._pool)

    def map(self, call: Callable[[S], T], items: Iterable[S]) -> list[T]:
        """``call`` of each item, by all threads."""
        return results([self.submit(partial(call, item)) for item in items])

    def shares(self, work: Callable[..., Tensor], *tensors: Tensor) -> list[Tensor]:
        """``work`` of large ``tensors``, cut along axis 0 into one piece a thread; of small ones, in one piece."""
        if not self._others or sum(t.numel() for t in tensors) < LARGE or len(tensors[0]) < 2:
            return [work(*tensors)]
        cuts = [t.chunk(self._others + 1) for t in tensors]
        return self.map(lambda piece: work(*piece), list(zip(*cuts, strict=True)))


def summed(parts: list[Tensor]) -> Tensor:
    """The sum of what :meth:`Aside.shares` gave, in the memory of the first."""
    for part in parts[1:]:
        parts[0].add_(part)
    return parts[0]


ALONE = Aside()
"""No other threads: everything is done when it is asked for."""


@contextmanager
def beside() -> Iterator[Aside]:
    """The threads, for as long as the body runs; what nobody has asked for by then is dropped."""
    threads = torch.get_num_threads()
    if threads == 1:
        yield Aside()
        return
    with ThreadPoolExecutor(threads - 1) as pool:
        torch.set_num_threads(1)
        try:
            yield Aside(pool, threads - 1)
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)
