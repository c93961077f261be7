"""Ops that move or copy entries and compute nothing: they run on the stored residues as they are."""

from __future__ import annotations

from ..registry import moves

VIEWS = """
    view _unsafe_view _reshape_alias reshape as_strided expand permute transpose t numpy_T squeeze unsqueeze select
    slice narrow unbind split split_with_sizes unsafe_split unsafe_split_with_sizes unsafe_chunk chunk diagonal
    unfold alias detach view_as expand_as movedim swapaxes
"""
COPIES = """
    clone contiguous cat stack hstack vstack flip roll rot90 repeat repeat_interleave tile tril triu diag diag_embed
    block_diag lift lift_fresh lift_fresh_copy resolve_conj resolve_neg view_copy transpose_copy permute_copy
    expand_copy slice_copy select_copy split_copy unbind_copy t_copy detach_copy alias_copy squeeze_copy
    unsqueeze_copy as_strided_copy diagonal_copy unfold_copy _reshape_copy im2col
    pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle
"""
LOOKUPS = "index index_select gather take masked_select masked_scatter index_copy _unsafe_index take_along_dim"
SCATTERS = """
    select_scatter slice_scatter diagonal_scatter as_strided_scatter select_backward slice_backward diagonal_backward
"""
NEIGHBOURS = """
    reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d
    upsample_nearest1d upsample_nearest2d upsample_nearest3d
    _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d
    max_unpool2d max_unpool3d _pack_padded_sequence
"""

for _family in (VIEWS, COPIES, LOOKUPS, SCATTERS, NEIGHBOURS):
    moves(*_family.split())
