"""LaTeX of symbols and chains. Input is the plain text of a factor; the grammar is ours, and small."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lockstep.explain.derivation import Derivation

INDEXED = re.compile(r"\b([A-Za-z]+)\[([^\]]+)\]\[([\d,]+)\]")
PARAMETER = re.compile(r"\b([A-Za-z_][\w.]*)\[([\d,]+)\]")
NUMBERED = re.compile(r"(?<![\w{^.])([a-zA-Z])(\d+)\b")
FRACTION = re.compile(r"^d(.+?)/d(.+)$")
WORDS = {
    "exp": r"\exp",
    "cos": r"\cos",
    "sin": r"\sin",
    "sign": r"\operatorname{sign}",
    "softmax": r"\operatorname{softmax}",
    "Phi": r"\Phi",
    "phi": r"\varphi",
    " if ": r"\text{ if }",
    " else ": r"\text{ else }",
    "Σ": r"\textstyle\sum ",
    "·": r"\cdot ",
    "…": r"\dots ",
}


def symbol_latex(symbol: str) -> str:
    """A derivative or a formula in LaTeX.

    >>> symbol_latex("dz3/da1")
    '\\\\frac{\\\\partial z_{3}}{\\\\partial a_{1}}'
    >>> symbol_latex("W[2][0,1]")
    'W^{[2]}_{0,1}'
    """
    match = FRACTION.match(symbol)
    if match:
        return rf"\frac{{\partial {plain_latex(match[1])}}}{{\partial {plain_latex(match[2])}}}"
    return plain_latex(symbol)


def plain_latex(text: str) -> str:
    """Subscripts, superscripts and words; prose (a formula with commas and words) goes into text."""
    if "autograd" in text or "product" in text:
        return rf"\text{{{escaped(text)}}}"
    text = INDEXED.sub(lambda m: rf"{m[1]}^{{[{escaped(m[2])}]}}_{{{m[3]}}}", text)
    text = PARAMETER.sub(lambda m: rf"{name_latex(m[1])}_{{{m[2]}}}", text)
    text = NUMBERED.sub(r"\1_{\2}", text)
    for word, latex in WORDS.items():
        text = text.replace(word, latex)
    return text


def name_latex(name: str) -> str:
    """A one-letter name as it is, a longer one upright."""
    return name if len(name) == 1 else rf"\mathrm{{{escaped(name)}}}"


def escaped(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    return re.sub(r"([_%&#$])", r"\\\1", text)


def derivation_latex(derivation: Derivation) -> str:
    """``dJ/dw = chain = formulas (= numbers for one sample)``."""
    head = rf"\frac{{\partial J}}{{\partial {plain_latex(derivation.weight)}}}"
    chain = r" \cdot ".join(symbol_latex(f.symbol) for f in derivation.factors)
    formulas = r" \cdot ".join(
        rf"\left({symbol_latex(f.formula)}\right)" for f in derivation.factors
    )
    result = f"{head} = {chain} = {formulas}"
    if derivation.factors[0].value.numel() == 1:
        values = r" \cdot ".join(
            rf"({float(f.value.reshape(-1)[0]):.4g})" for f in derivation.factors
        )
        result += f" = {values}"
    return f"{result} = {derivation.gradient:.4g}"
