"""Names of a package that are imported when they are first used (PEP 562), so that ``lockstep --help`` loads no torch.

A package states its public names twice: for type checkers as ordinary imports under ``if TYPE_CHECKING``, and for
Python by a call of :func:`import_on_use`. ``tests/test_imports.py`` compares the two.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


class _OnUse(ModuleType):
    """A package whose public names hide submodules of the same name: ``lockstep.forecast`` is the function."""

    _homes: dict[str, str]

    def __getattr__(self, name: str) -> Any:
        home = self._homes.get(name)
        if home is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(home, self.__name__), name)
        setattr(self, name, value)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._homes and isinstance(value, ModuleType):
            return  # Python sets an imported submodule on its package
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._homes})


def import_on_use(package: str, modules: dict[str, str]) -> None:
    """Give ``package`` the names that each of its ``modules`` holds, as in ``{".pipeline": "audit"}``.

    >>> import lockstep
    >>> "audit" in dir(lockstep)
    True
    """
    face = sys.modules[package]
    homes = {name: module for module, names in modules.items() for name in names.split()}
    vars(face)["_homes"] = homes
    face.__class__ = _OnUse
