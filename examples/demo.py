"""Three audits: the 2-2-1 network tied and untied, BERT from its config, a ResNet with BatchNorm.

    python examples/demo.py [--report demo-report.html]

Nothing is downloaded: the weights are random, which is all an audit of the *start* needs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from rich.console import Console
from torch import nn

from lockstep import Audit, audit
from lockstep.report.html import page

console = Console(width=100)


def two_two_one(tied: bool) -> nn.Sequential:
    """2 features, 2 sigmoid units, 1 output; ``tied``: w1 = w3, w2 = w4, w5 = w6 (and equal biases)."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.Linear(2, 1))
    if tied:
        with torch.no_grad():
            net[0].weight[1] = net[0].weight[0]
            net[0].bias[1] = net[0].bias[0]
            net[2].weight[0, 1] = net[2].weight[0, 0]
    return net


def bert() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """A two-layer BERT as Hugging Face initialises it."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=200,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=16,
    )
    ids = torch.arange(4 * 16).view(4, 16) % 200
    return BertModel(config), {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


class Residual(nn.Module):
    """Two 3x3 convolutions with batch norm, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))


def resnet() -> nn.Sequential:
    """A small residual network that keeps its convolution biases, as many first attempts do."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        Residual(8),
        Residual(8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    )


def show(title: str, result: Audit) -> None:
    console.rule(title)
    console.print(result)


def main() -> None:
    """Run the audits and write the last one as a page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", type=Path, default=Path("demo-report.html"))
    report: Path = parser.parse_args().report

    show("2-2-1, random start", audit(two_two_one(tied=False), torch.zeros(4, 2)))
    show("2-2-1, w1 = w3, w2 = w4, w5 = w6", audit(two_two_one(tied=True), torch.zeros(4, 2)))
    model, inputs = bert()
    show("BERT from its config", audit(model, inputs))
    result = audit(resnet(), torch.zeros(4, 3, 8, 8))
    show("a ResNet with BatchNorm", result)
    report.write_text(page(result), encoding="utf-8")
    console.print(f"\nreport: {report}")


if __name__ == "__main__":
    main()
