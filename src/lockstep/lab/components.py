"""The page's own components: each is a file of ``web/`` with the properties it takes from the server."""

from __future__ import annotations

from nicegui.element import Element

WEB = "web"


class Graph(Element, component="web/graph.js", esm={"lockstep-lab": WEB}):
    """The network. Emits ``weight``, ``unit``, ``edit`` and, after each frame, ``drawn``."""


class Plane(Element, component="web/plane.js", esm={"lockstep-lab": WEB}):
    """The answer over the two features. Emits ``sample``."""


class Curves(Element, component="web/curves.js", esm={"lockstep-lab": WEB}):
    """Loss, weights, distances."""


class Address(Element, component="web/address.js"):
    """The state in the address. Emits ``moved`` on back and forward."""


class Chains(Element, component="web/chains.js"):
    """One chain or two."""


class Files(Element, component="web/files.js", esm={"lockstep-lab": WEB}):
    """Saves what it is given on the learner's machine. Emits ``loaded`` with a file's name and text."""
