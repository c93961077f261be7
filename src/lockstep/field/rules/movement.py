"""Ops that move or copy entries and compute nothing: they run on the stored residues as they are."""

from __future__ import annotations

from ..registry import moves

moves(
    "view", "_unsafe_view", "_reshape_alias", "reshape", "as_strided", "expand", "permute", "transpose", "t",
    "numpy_T", "squeeze", "unsqueeze", "select", "slice", "narrow", "unbind", "split", "split_with_sizes",
    "unsafe_split", "unsafe_split_with_sizes", "unsafe_chunk", "chunk", "diagonal", "unfold", "alias", "detach",
    "clone", "cat", "stack", "index", "index_select", "gather", "take", "flip", "roll", "rot90", "repeat",
    "repeat_interleave", "tril", "triu", "diag_embed", "diag", "select_scatter",
    "slice_scatter", "diagonal_scatter", "as_strided_scatter", "select_backward", "slice_backward",
    "diagonal_backward", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle",
    "masked_select", "masked_scatter", "lift_fresh", "lift_fresh_copy", "lift",
    "reflection_pad1d", "reflection_pad2d", "reflection_pad3d", "replication_pad1d", "replication_pad2d",
    "replication_pad3d", "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d",
    "_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "_upsample_nearest_exact3d", "block_diag",
    "unsqueeze_copy", "view_copy", "transpose_copy", "permute_copy", "expand_copy", "slice_copy",
    "select_copy", "hstack", "vstack", "movedim", "swapaxes", "contiguous", "index_copy", "tile", "_conj", "resolve_conj", "resolve_neg", "view_as", "expand_as",
    "split_copy", "unbind_copy", "t_copy", "detach_copy", "alias_copy", "im2col",
)  # fmt: skip
