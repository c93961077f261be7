"""Ops that are refused with a reason, because no rule could be right, or none is worth its length yet."""

from __future__ import annotations

from ..registry import refuse

refuse(
    *(
        "_linalg_det",
        "_linalg_slogdet",
        "linalg_inv_ex",
        "_linalg_solve_ex",
    ),
    *("linalg_lu_factor_ex", "linalg_lu", "linalg_ldl_factor_ex", "lu_unpack", "triangular_solve"),
    *(
        "linalg_cholesky_ex",
        "cholesky",
        "cholesky_inverse",
        "cholesky_solve",
        "linalg_lstsq",
        "linalg_pinv",
    ),
    *(
        "_linalg_svd",
        "linalg_qr",
        "geqrf",
        "linalg_householder_product",
        "ormqr",
        "linalg_matrix_exp",
    ),
    *("_linalg_eigh", "linalg_eig", "_linalg_eigvals"),
    because="matrix factorisations and inverses are not followed: precompute the matrix as a constant, or "
    "parametrize it without them",
)
refuse(
    *("_ctc_loss", "_cudnn_ctc_loss", "_use_cudnn_ctc_loss"),
    because="the CTC loss sums over alignments in a kernel of its own: audit without loss=, which is any loss of "
    "the output, or take the loss out of forward()",
)
refuse(
    *("resize", "resize_as", "set", "_resize_output"),
    because="a tensor that changes its size or storage in place cannot be followed: allocate it with its final shape",
)
refuse(
    *(
        "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_fused_attention_overrideable",
    ),
    because="a fused attention kernel was forced: leave the choice of the kernel to PyTorch",
)
refuse("logcumsumexp", because="use cumsum of exp, or logsumexp, instead")
