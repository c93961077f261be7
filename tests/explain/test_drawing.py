"""The drawn network: what is on it, that SVG is well-formed, that the chain is marked."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest
import torch
from torch import nn

from lockstep.errors import UsageError
from lockstep.explain import draw
from lockstep.explain.bundled import course_network

from .nets import Convolved, dense

X = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
WEIGHTS = (0.5, -0.25, 0.5, -0.25, 0.5, 1.0)

# weight, symbols of the marked edges
CHAINS = [
    ("w1", {"w1", "w5"}),
    ("w4", {"w4", "w6"}),
    ("w6", {"w6"}),
    (None, set()),
]


@pytest.mark.parametrize("weight, edges", CHAINS)
def test_the_chain_is_marked(weight: str | None, edges: set[str]) -> None:
    picture = draw(course_network(bias=False, weights=WEIGHTS), X, weight=weight)
    assert {edge.symbol for edge in picture.edges if edge.marked} == edges
    assert {e.symbol: e.value for e in picture.edges} == {
        f"w{n}": w for n, w in enumerate(WEIGHTS, 1)
    }


def test_a_bias_marks_everything_above_its_unit() -> None:
    picture = draw(dense([2, 2, 2, 1], ["tanh"] * 3), X.double(), weight="b1")
    assert {e.symbol for e in picture.edges if e.marked} == {"w5", "w7", "w9", "w10"}


def test_values_of_the_chosen_sample() -> None:
    net = course_network(bias=False, weights=WEIGHTS)
    first, second = (draw(net, X, sample=n).nodes for n in (0, 1))
    assert first[0].lines == ("1",) and second[0].lines == ("3",)
    assert first[2].lines == ("z = 0", "a = 0.5")


def test_svg_is_well_formed_and_complete() -> None:
    svg = draw(course_network(bias=False, weights=WEIGHTS), X, weight="w1").svg()
    root = ElementTree.fromstring(svg)
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert "w3 = 0.5" in texts and "unit 3" in texts and "2-2-1 network" in texts
    assert sum(element.tag.endswith("circle") for element in root.iter()) == 5


def test_index_notation_and_wide_layers() -> None:
    picture = draw(dense([2, 20, 1], ["tanh", "sigmoid"]), X.double(), notation="index")
    assert picture.title == "2-20-1 network (12 units not drawn)"
    assert "W[1][0,1]" in {edge.symbol for edge in picture.edges}


@pytest.mark.extras
def test_matplotlib_draws_the_same() -> None:
    import matplotlib.pyplot as plt

    axes = draw(course_network(), X, weight="w1").matplotlib()
    assert len(axes.patches) == 5 and len(axes.lines) == 8  # six weights, two of them on a band
    plt.close(axes.figure)


@pytest.mark.parametrize("net", [Convolved(), nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))])
def test_other_networks_are_refused(net: nn.Module) -> None:
    x = torch.ones(4, 2, 7, 7) if isinstance(net, Convolved) else X
    with torch.no_grad():
        net(x)
    with pytest.raises(UsageError, match="only networks of dense layers are drawn"):
        draw(net, x)
