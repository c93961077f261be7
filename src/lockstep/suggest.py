"""Names offered in an error message: the likely slip of the fingers first, then all the others."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def closest_first(given: str, known: Iterable[str], most: int = 8) -> str:
    """The known names, those most like ``given`` first, as they stand in a sentence.

    >>> closest_first("layer1.conv", ["fc", "layer1.conv2", "layer1.conv1"])
    "'layer1.conv1', 'layer1.conv2', 'fc'"
    """
    names = list(dict.fromkeys(known))

    def likeness(name: str) -> float:
        return difflib.SequenceMatcher(None, given.lower(), name.lower()).ratio()

    # Equal likeness keeps alphabetical order, so that the same slip always gets the same answer.
    ranked = sorted(sorted(names), key=likeness, reverse=True)
    more = len(ranked) - most
    shown = ", ".join(repr(name) for name in ranked[:most])
    return shown + (f" and {more} more" if more > 0 else "") if shown else "none"
