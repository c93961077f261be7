"""The identity of a model's numbers, so that a certificate can be tied to them."""

from __future__ import annotations

import ctypes

import torch
from blake3 import blake3
from torch import Tensor

from .subject import Subject

SMALL = 1 << 18
"""Bytes that one thread hashes as quickly as several do."""


def digest(subject: Subject) -> str:
    """BLAKE3 over the BLAKE3 of each parameter and buffer: name, dtype, shape, whether it trains, bytes.

    Why not SHA-256: it took a sixth of an audit's time, four times as much, and one thread only (O'Connor, Aumasson,
    Neves, Wilcox-O'Hearn 2020).
    """
    named = sorted({**subject.parameters, **subject.buffers}.items())
    # One for all that is large, since each starts threads of its own, which cost what is small more than they save.
    several, single = blake3(max_threads=torch.get_num_threads()), blake3()
    each = (_of_tensor(several if t.nbytes > SMALL else single, name, t) for name, t in named)
    return blake3("".join(each).encode()).hexdigest()


def _of_tensor(h: blake3, name: str, t: Tensor) -> str:
    h.reset()
    h.update(f"{name} {t.dtype} {tuple(t.shape)} {t.requires_grad}\n".encode())
    flat = t.detach().cpu().contiguous()
    size = flat.numel() * flat.element_size()
    if size:
        h.update(memoryview((ctypes.c_char * size).from_address(flat.data_ptr())).cast("B"))
    return h.hexdigest()
