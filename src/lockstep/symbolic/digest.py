"""The identity of a model's numbers, so that a certificate can be tied to them."""

from __future__ import annotations

import ctypes

import torch
from blake3 import blake3
from torch import Tensor

from .subject import Subject


def digest(subject: Subject) -> str:
    """BLAKE3 over the BLAKE3 of each parameter and buffer: name, dtype, shape, whether it trains, bytes.

    Why not SHA-256: it took a sixth of an audit's time, four times as much, and one thread only (O'Connor, Aumasson,
    Neves, Wilcox-O'Hearn 2020).
    """
    named = sorted({**subject.parameters, **subject.buffers}.items())
    h = blake3(max_threads=torch.get_num_threads())  # one for all: each starts threads of its own
    return blake3("".join(_of_tensor(h, *item) for item in named).encode()).hexdigest()


def _of_tensor(h: blake3, name: str, t: Tensor) -> str:
    h.reset()
    h.update(f"{name} {t.dtype} {tuple(t.shape)} {t.requires_grad}\n".encode())
    flat = t.detach().cpu().contiguous()
    size = flat.numel() * flat.element_size()
    if size:
        h.update(memoryview((ctypes.c_char * size).from_address(flat.data_ptr())).cast("B"))
    return h.hexdigest()
