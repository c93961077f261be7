"""The digest against its definition, written out once more: it must not depend on threads or on the size of a tensor."""

from __future__ import annotations

import pytest
import torch
from blake3 import blake3
from torch import nn

from lockstep.symbolic.digest import SMALL, digest
from lockstep.symbolic.subject import subject_of


class Sizes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        for n, count in enumerate((0, 1, SMALL // 4 - 1, SMALL // 4, SMALL // 4 + 1, SMALL)):
            self.register_parameter(f"p{n}", nn.Parameter(torch.randn(count)))
        self.brief = nn.Parameter(torch.randn(3, 5, dtype=torch.bfloat16).t(), requires_grad=False)
        self.register_buffer("steps", torch.tensor(7))


def written_out(model: nn.Module) -> str:
    lines = []
    for name, t in sorted([*model.named_parameters(), *model.named_buffers()]):
        head = f"{name} {t.dtype} {tuple(t.shape)} {t.requires_grad}\n".encode()
        content = t.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        lines.append(blake3(head + content).hexdigest())
    return blake3("".join(lines).encode()).hexdigest()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_as_defined(threads: int) -> None:
    model, before = Sizes(), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert digest(subject_of(model)) == written_out(model)
    finally:
        torch.set_num_threads(before)
