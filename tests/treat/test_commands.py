"""``lockstep treat``: the plan is printed, files are written only when asked, and nothing half."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from lockstep.cli import app

SOURCE = """
import torch
from torch import nn

def build():
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    with torch.no_grad():
        net[0].weight[3:] = net[0].weight[:3]
        net[0].bias[3:] = net[0].bias[:3]
        net[2].weight[:, 3:] = net[2].weight[:, :3]
    return net, torch.randn(8, 4)

def healthy():
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)), torch.randn(8, 4)

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.W = nn.Parameter(torch.ones(4, 6))

    def forward(self, x):
        return torch.tanh(x @ self.W.t()) @ self.W

def tied():
    return Tied(), torch.randn(5, 6)
"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    file = tmp_path / "net.py"
    file.write_text(SOURCE, "utf-8")
    return file


def run(*arguments: object) -> SimpleNamespace:
    result = CliRunner().invoke(app, ["treat", *map(str, arguments)])
    return SimpleNamespace(code=result.exit_code, out=result.stdout, err=result.stderr)


def script(folder: Path):
    spec = importlib.util.spec_from_file_location(f"treated_{folder.name}", folder / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_plan_is_printed_and_nothing_written(net: Path, tmp_path: Path) -> None:
    done = run(f"{net}:build", "merge")
    assert done.code == 0
    assert "merge: dry run\n  0: 3 of 6 units stay" in done.out
    assert "audit after:  0 locked groups; 0 3/3, 2 2/2" in done.out
    assert [path.name for path in tmp_path.iterdir() if path.is_dir() and path.name[0] != "_"] == []


@pytest.mark.parametrize(
    "how, options, width",
    [
        ("merge", [], 3),
        ("untie", ["--loss", "mse"], 6),
        ("widen", ["--layer", "0", "--units", "1", "--split", "0.25,0.75"], 7),
        ("recycle", [], 6),
    ],
)
def test_the_files_make_the_treated_model(net, tmp_path, how, options, width) -> None:
    out = tmp_path / "out"
    done = run(f"{net}:build", how, *options, "--apply", "--output", out)
    assert done.code == 0, done.err
    assert {p.name for p in out.iterdir()} == {"model.py", "model.safetensors", "receipt.txt"}
    assert (out / "receipt.txt").read_text("utf-8").startswith(f"{how}: applied")
    model = script(out).build()
    assert model[0].out_features == width and model[0].weight.shape == (width, 4)
    source = importlib.util.spec_from_file_location("source", net)
    original = importlib.util.module_from_spec(source)
    source.loader.exec_module(original)
    torch.manual_seed(0)
    before, x = original.build()
    tolerance = 0.2 if how == "untie" else 1e-6
    with torch.no_grad():
        torch.testing.assert_close(model(x), before(x), rtol=0, atol=tolerance)


@pytest.mark.extras
def test_a_hugging_face_model_gets_a_config(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = {
        "model_type": "llama", "vocab_size": 11, "hidden_size": 24, "intermediate_size": 12,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
        "architectures": ["LlamaForCausalLM"],
    }  # fmt: skip
    source = tmp_path / "config.json"
    source.write_text(json.dumps(config), "utf-8")
    out = tmp_path / "out"
    layer = "model.layers.0.self_attn.q_proj"
    done = run(source, "widen", "--layer", layer, "--units", "0", "--apply", "-o", out)
    assert done.code == 0, done.err
    assert {p.name for p in out.iterdir()} == {"config.json", "model.safetensors", "receipt.txt"}
    wide = transformers.AutoModelForCausalLM.from_pretrained(out)
    assert (wide.config.num_attention_heads, wide.config.num_key_value_heads) == (4, 2)
    assert wide.model.layers[0].self_attn.q_proj.weight.shape == (48, 24)


def test_nothing_to_do_is_clean_and_all_refused_is_not(net: Path) -> None:
    done = run(f"{net}:healthy", "merge")
    assert (done.code, done.out.strip()) == (0, "merge: nothing to do")
    done = run(f"{net}:tied", "merge")
    assert done.code == 1 and "tied weights" in done.out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["merge", "--apply"], "--apply and --output DIR go together"),
        (["merge", "--loss", "mse"], "--loss: not an option of merge"),
        (["untie", "--within", "0.1", "--units", "0"], "--units, --within: not an option of untie"),
        (["widen", "--units", "0"], "widen needs one layer: --layer NAME"),
        (["widen", "--layer", "0", "--units", "a"], "--units 'a': give numbers"),
        (["merge", "--layer", "9"], "no layer '9'"),
        (["untie", "--loss", "nope"], "--loss 'nope': no such loss"),
    ],
)
def test_wrong_use(net: Path, arguments, message) -> None:
    done = run(f"{net}:build", *arguments)
    assert done.code == 2 and message in done.err


def test_a_folder_that_is_taken_is_left_alone(net: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine", "utf-8")
    done = run(f"{net}:build", "merge", "--apply", "-o", out)
    assert done.code == 2 and "exists and is not empty" in done.err
    assert [p.name for p in out.iterdir()] == ["mine.txt"]


def test_a_full_disk_leaves_nothing_behind(net: Path, tmp_path: Path, monkeypatch) -> None:
    def full(tensors, path, **_):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    before = {p.name for p in tmp_path.iterdir()}
    done = run(f"{net}:build", "merge", "--apply", "-o", tmp_path / "out")
    assert done.code == 2
    assert "No space left on device" in done.err and "Nothing was left there" in done.err
    assert {p.name for p in tmp_path.iterdir()} - {"__pycache__"} == before - {"__pycache__"}
