"""Attention whose heads together are not as wide as its input: what ``nn.MultiheadAttention`` becomes with other heads.

``nn.MultiheadAttention`` computes the width of a head as ``embed_dim / num_heads``, so one head fewer would be wider
heads. Dropping or copying heads therefore gives the module this class, in place: the same parameters under the same
names, the same arguments and results.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class HeadsAttention(nn.MultiheadAttention):
    """``nn.MultiheadAttention`` with ``num_heads`` heads of ``head_dim``, whatever ``embed_dim`` is.

    ``in_proj_weight`` is (3 * num_heads * head_dim, embed_dim), ``out_proj.weight`` (embed_dim, num_heads * head_dim).
    """

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As in ``nn.MultiheadAttention``: (L, N, E), or (N, L, E) with ``batch_first``, or (L, E)."""
        batched = query.dim() == 3
        if not batched:
            query, key, value = (t[None] for t in (query, key, value))
            if key_padding_mask is not None:
                key_padding_mask = key_padding_mask[None]
        elif not self.batch_first:
            query, key, value = (t.transpose(0, 1) for t in (query, key, value))
        q, k, v = self._projected(query, key, value)  # (N, H, L or S, d)
        mask = self._mask(q, k, key_padding_mask, attn_mask)
        rate = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            logits = q @ k.transpose(-2, -1) * self.head_dim**-0.5
            weights = (logits if mask is None else logits + mask).softmax(-1)
            weights = F.dropout(weights, rate) if rate else weights
            joined = weights @ v
            weights = weights.mean(1) if average_attn_weights else weights
            weights = weights if batched else weights[0]
        else:
            joined = F.scaled_dot_product_attention(q, k, v, mask, rate)
        out = self.out_proj(joined.transpose(1, 2).flatten(2))
        if not batched:
            return out[0], weights
        return (out if self.batch_first else out.transpose(0, 1)), weights

    def _projected(self, *inputs: Tensor) -> list[Tensor]:
        packed: Any = self.in_proj_weight
        if packed is not None:
            weights: Any = packed.chunk(3)
        else:
            weights = self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
        bias: Any = self.in_proj_bias
        biases = (None,) * 3 if bias is None else bias.chunk(3)
        parts = [F.linear(x, w, b) for x, w, b in zip(inputs, weights, biases, strict=True)]
        return [p.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2) for p in parts]

    def _mask(
        self, q: Tensor, k: Tensor, padding: Tensor | None, mask: Tensor | None
    ) -> Tensor | None:
        """Both masks added up, in a shape that fits (N, H, L, S); True and -inf keep out."""
        out = None if mask is None else _additive(mask, q)
        if out is not None and out.dim() == 3:
            out = out.unflatten(0, (len(q), self.num_heads))
        if padding is not None:
            other = _additive(padding, q)[:, None, None, :]
            out = other if out is None else out + other
        return out if out is None else out.expand(len(q), self.num_heads, q.shape[2], k.shape[2])


def _additive(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return mask.to(like.dtype)
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, float("-inf"))
