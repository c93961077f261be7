"""Heads of ``nn.MultiheadAttention``: dropped, copied, put back; the class that carries them beside PyTorch's own."""

from __future__ import annotations

import copy
import itertools
import pickle

import pytest
import torch
import zoo
from torch import nn

from lockstep import merge, widen
from lockstep.treat.heads import HeadsAttention

SETTINGS = [
    pytest.param(first, need, masked, id=f"{first}, weights {need}, mask {masked}")
    for first, need, masked in itertools.product(
        (True, False), (True, False), ("", "bool", "float", "heads")
    )
]


@pytest.mark.parametrize("first, need, masked", SETTINGS)
def test_the_class_computes_what_pytorchs_does(first, need, masked) -> None:
    plain = nn.MultiheadAttention(12, 3, kdim=5, vdim=7, batch_first=first)
    ours = copy.deepcopy(plain)
    ours.__class__ = HeadsAttention
    q, k, v = (torch.randn(4, n, d) for n, d in ((6, 12), (8, 5), (8, 7)))
    settings: dict = {"need_weights": need, "average_attn_weights": need != bool(masked)}
    if masked:
        shape = (12, 6, 8) if masked == "heads" else (6, 8)
        mask = torch.rand(shape) < 0.3
        mask[..., 0] = False
        settings["attn_mask"] = torch.randn(6, 8) if masked == "float" else mask
    if masked in ("bool", "heads"):
        settings["key_padding_mask"] = torch.arange(8)[None] > torch.tensor([3, 5, 7, 8])[:, None]
    if not first:
        q, k, v = (t.transpose(0, 1) for t in (q, k, v))
    want, found = plain(q, k, v, **settings), ours(q, k, v, **settings)
    for a, b in zip(want, found, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_without_a_batch() -> None:
    plain = nn.MultiheadAttention(8, 2)
    ours = copy.deepcopy(plain)
    ours.__class__ = HeadsAttention
    x = torch.randn(5, 8)
    for a, b in zip(plain(x, x, x), ours(x, x, x), strict=True):
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_a_twin_head_goes_and_undo_brings_the_class_back() -> None:
    model, x = zoo.twin_heads(True)
    want = model(x).detach()
    receipt = merge(model, x).apply()
    assert type(model.attn) is HeadsAttention and model.attn.num_heads == 3
    assert receipt.after.locked == ()
    torch.testing.assert_close(model(x), want, rtol=1e-4, atol=1e-6)
    again = pickle.loads(pickle.dumps(model))
    torch.testing.assert_close(again(x), want, rtol=1e-4, atol=1e-6)
    receipt.undo()
    assert type(model.attn) is nn.MultiheadAttention and model.attn._qkv_same_embed_dim
    torch.testing.assert_close(model(x), want, rtol=0, atol=0)


@pytest.mark.parametrize("train", [True, False])
def test_an_encoder_layer_gets_a_head_and_gives_it_back(train) -> None:
    """In evaluation its fused kernel would be used, which knows no head but embed_dim / num_heads wide."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True).train(train)
    x = torch.randn(4, 5, 8)
    before, sizes = copy.deepcopy(layer.state_dict()), repr(layer)
    want = layer(x).detach()
    assert widen(layer, x, "self_attn[v]", units=[5], split="halves").apply().function.kept
    assert layer.self_attn.num_heads == 3
    with torch.no_grad():
        torch.testing.assert_close(layer(x), want, rtol=1e-4, atol=1e-5)
    merge(layer, x).apply()
    assert repr(layer) == sizes and type(layer.self_attn) is nn.MultiheadAttention
    assert all(torch.equal(before[k], v) for k, v in layer.state_dict().items())
