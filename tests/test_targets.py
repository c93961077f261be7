"""TARGET, --input and everything that can be wrong with them: the words that help are in the message."""

from __future__ import annotations

import json
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lockstep.errors import UsageError
from lockstep.targets import Target, inputs, load, memory, training, trial
from lockstep.targets.examples import choose
from lockstep.targets.infer import example_inputs

NETS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=3):
        super().__init__()
        self.fc = nn.Linear(2, width)
    def forward(self, x):
        return self.fc(x)

class Wide(Net):
    def __init__(self, width):
        super().__init__(width)

module = Net()
def build(): return Net()
def pair(): return Net(), torch.zeros(4, 2)
def needs(width, depth, bias=True): return Net(width)
def fails():
    raise ValueError("my own mistake")
def exits(): raise SystemExit(3)
def triple(): return 1, 2, 3
def weights(): return Net().state_dict()
def scripted():
    import warnings
    with warnings.catch_warnings():  # TorchScript is deprecated
        warnings.simplefilter("ignore")
        return torch.jit.script(Net())
class Holder:
    inner = module
number = 3
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    return tmp_path


def refused(text: str, *phrases: str, **options: Any) -> str:
    with pytest.raises(UsageError, match=r"\w") as caught:
        load(text, **options)
    message = str(caught.value)
    assert [phrase for phrase in phrases if phrase not in message] == [], message
    return message


# -- Python ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["module", "build", "pair", "Net", "Holder.inner"])
@pytest.mark.parametrize("source", ["nets.py", "nets"])
def test_modules_functions_classes_and_pairs(nets: Path, source: str, name: str) -> None:
    target = load(f"{source}:{name}")
    assert isinstance(target.model, nn.Module)
    assert (target.inputs is not None) == (name == "pair")
    assert target.file is not None
    assert target.file.name == "nets.py"
    assert target.line is not None
    line = NETS.splitlines()[target.line - 1]
    assert name.partition(".")[0] in line


def test_absolute_paths(nets: Path) -> None:
    assert isinstance(load(f"{nets / 'nets.py'}:build").model, nn.Module)


def test_the_only_candidate_needs_no_name(nets: Path) -> None:
    (nets / "one.py").write_text("from nets import Net\ndef build():\n    return Net()\n")
    assert isinstance(load("one.py").model, nn.Module)
    (nets / "instance.py").write_text("import nets\nclass Net(nets.Net): ...\nmodel = Net()\n")
    assert isinstance(load("instance.py").model, nn.Module)
    (nets / "cls.py").write_text("import nets\nclass Net(nets.Net): ...\ndef main(): ...\n")
    assert isinstance(load("cls.py").model, nn.Module)


def test_a_target_is_built_from_its_seed_and_leaves_random_state_alone(nets: Path) -> None:
    before = torch.random.get_rng_state(), random.getstate(), np.random.get_state()[1].sum()  # noqa: NPY002
    first, again, other = (
        load("nets.py:build"),
        load("nets.py:build"),
        load("nets.py:build", seed=1),
    )
    assert torch.equal(first.model.fc.weight, again.model.fc.weight)
    assert not torch.equal(first.model.fc.weight, other.model.fc.weight)
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert before[1] == random.getstate()
    assert before[2] == np.random.get_state()[1].sum()  # noqa: NPY002


def test_what_the_users_code_prints_goes_to_stderr(
    nets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (nets / "loud.py").write_text("print('hello')\nfrom nets import Net\nmodel = Net()\n")
    load("loud.py")
    assert capsys.readouterr() == ("", "hello\n")


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("net.py:build", ["there is no file 'net.py'", "'nets.py'", "Paths start from"]),
        ("no/net.py:build", ["the folder 'no' does not exist"]),
        ("nets.py:bild", ["nets.py has no name 'bild'; it has 'build'"]),
        ("nets.py:Holder.iner", ["no name 'Holder.iner'; it has 'inner'"]),
        ("nets.py:number", ["nets.py:number is not a module", "builtins.int", "torch.nn.Module"]),
        ("nets.py:triple", ["a tuple of 3, and (model, inputs) is a tuple of 2"]),
        ("nets.py:weights", ["state_dict?", "load them into the model in a function"]),
        ("nets.py:scripted", ["TorchScript", "give the eager module"]),
        ("nets.py:needs", ["needs the argument(s) width, depth.", "without arguments"]),
        ("nets.py:Wide", ["needs the argument(s) width."]),
        (
            "nets.py:fails",
            ["ValueError: my own mistake", "nets.py:21 in fails", "raise ValueError"],
        ),
        ("nets.py:exits", ["was called and raised", "SystemExit"]),
        ("nets.py", ["several candidates", "nets.py:build", "nets.py:pair"]),
        ("nowhere.deep:net", ["no module 'nowhere'", "in this environment", "A TARGET is"]),
        ("nets.deep:net", ["no module 'nets.deep'"]),
        ("a b c", ["'a b c' is not a TARGET", ".keras file", "config.json"]),
        (":x", ["is not a TARGET"]),
        ("", ["is not a TARGET"]),
    ],
)
def test_bad_python_targets(nets: Path, text: str, phrases: list[str]) -> None:
    refused(text, *phrases)


@pytest.mark.parametrize(
    ("source", "phrases"),
    [
        ("x = 1 +", ["bad.py cannot be imported", "SyntaxError", "bad.py"]),
        ("def f():\n    return 1 / 0\nf()", ["ZeroDivisionError", "bad.py:2 in f: return 1 / 0"]),
        ("import nothing_of_the_kind", ["ModuleNotFoundError", "Install 'nothing_of_the_kind'"]),
        ("import sys\nsys.exit(2)", ["SystemExit", 'if __name__ == "__main__":']),
        ("x = 1", ["bad.py holds no model", "bad.py:build"]),
    ],
)
def test_files_that_do_not_import(nets: Path, source: str, phrases: list[str]) -> None:
    (nets / "bad.py").write_text(source)
    refused("bad.py", *phrases)
    if "cannot be imported" in phrases[0]:
        refused("bad:net", "bad cannot be imported")


# -- files that are no Python ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["m.pt", "m.pth", "m.pkl", "m.ckpt", "m.bin"])
def test_pickles_are_refused_unless_trusted(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    torch.save(nn.Linear(2, 3), file)
    refused(str(file), "is a pickle", "any code", "--trust", "function in a .py file")
    assert isinstance(load(str(file), trust=True).model, nn.Linear)


def test_trusted_pickles_of_something_else(tmp_path: Path) -> None:
    file = tmp_path / "m.pt"
    torch.save(nn.Linear(2, 3).state_dict(), file)
    refused(str(file), "not a module but a state_dict", trust=True)
    file.write_bytes(b"junk")
    refused(str(file), "cannot be opened", trust=True)
    refused(str(tmp_path / "none.pt"), "there is no file")


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        ("m.safetensors", "weights without a model"),
        ("m.onnx", "ONNX"),
        ("m.h5", "old Keras format"),
    ],
)
def test_files_without_an_eager_model(tmp_path: Path, name: str, phrase: str) -> None:
    (tmp_path / name).touch()
    refused(str(tmp_path / name), phrase)


def test_a_folder_needs_a_config(tmp_path: Path) -> None:
    refused(str(tmp_path), "is a folder without a config.json")


# -- inputs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("4,2", inputs.Spec((4, 2))),
        ("4x2", inputs.Spec((4, 2))),
        ("", inputs.Spec(())),
        ("4, 2 : half", inputs.Spec((4, 2), torch.float16)),
        ("ids=4,16:int64:0-99", inputs.Spec((4, 16), torch.int64, (0, 99), "ids")),
        ("4:long:-3--1", inputs.Spec((4,), torch.int64, (-3, -1))),
        ("4:torch.bool", inputs.Spec((4,), torch.bool)),
    ],
)
def test_the_input_notation(text: str, spec: inputs.Spec) -> None:
    assert inputs.parse([text]) == [spec]
    assert inputs.parse([str(spec)]) == [spec]
    assert inputs.tensor(spec).shape == spec.shape
    assert inputs.tensor(spec).dtype == spec.dtype


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("4,a", ["'4,a' is no shape", "as in 4,2"]),
        ("4,-2", ["is no shape"]),
        ("4,0", ["a size of 0 leaves nothing to audit"]),
        ("4:flot32", ["no dtype 'flot32'; known are 'float32'"]),
        ("4:int64:99", ["'99' is no range", "0-99"]),
        ("4:int64:9-0", ["is no range"]),
        ("4:float32:0-1", ["a range is for integers"]),
        ("1a=4", ["is not of the form"]),
    ],
)
def test_bad_inputs(text: str, phrases: list[str]) -> None:
    with pytest.raises(UsageError, match="--input") as caught:
        inputs.parse([text])
    assert [phrase for phrase in phrases if phrase not in str(caught.value)] == []


def test_all_bad_inputs_at_once() -> None:
    with pytest.raises(UsageError, match="is no shape") as caught:
        inputs.parse(["4,a", "x=4:foo", "0", "y=2", "y=3"])
    for phrase in ("is no shape", "no dtype 'foo'", "a size of 0", "gives 'y' more than once"):
        assert phrase in str(caught.value)
    with pytest.raises(UsageError, match="name all of them or none"):
        inputs.parse(["x=4", "2"])


def test_one_several_or_named() -> None:
    assert torch.is_tensor(inputs.tensors(inputs.parse(["4,2"])))
    assert isinstance(inputs.tensors(inputs.parse(["4,2", "4,3"])), tuple)
    assert set(inputs.tensors(inputs.parse(["a=4,2", "b=4,3"]))) == {"a", "b"}


def test_integers_fill_their_range_and_are_the_same_in_every_run() -> None:
    spec = inputs.Spec((4, 5), torch.int64, (3, 8))
    assert set(inputs.tensor(spec).flatten().tolist()) == {3, 4, 5, 6, 7, 8}
    assert torch.equal(inputs.tensor(spec), inputs.tensor(spec))
    sparse = inputs.tensor(inputs.Spec((4, 5), torch.int64, (0, 999)))
    assert len(sparse.unique()) == 20


# -- inference -------------------------------------------------------------------------------------


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.fc(x) * mask


class Raw(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(3, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.w.T


class Alone(Raw):
    def forward(self) -> torch.Tensor:  # type: ignore[override]
        return self.w.sum()


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Linear(5, 2), (4, 5)),
        (nn.Sequential(nn.Flatten(), nn.Linear(784, 2)), (4, 784)),
        (nn.Conv1d(3, 2, 40), (4, 3, 128)),
        (
            nn.Sequential(nn.Conv2d(1, 2, 5), nn.Flatten(), nn.Linear(2 * 24 * 24, 3)),
            (4, 1, 28, 28),
        ),
        (nn.Conv3d(2, 2, 3), (4, 2, 8, 8, 8)),
        (nn.Embedding(7, 3), (4, 8)),
        (nn.LSTM(5, 3), (8, 4, 5)),
        (nn.GRU(5, 3, batch_first=True), (4, 8, 5)),
        (nn.LSTMCell(5, 3), (4, 5)),
        (nn.LayerNorm((3, 5)), (4, 3, 5)),
        (nn.BatchNorm2d(3), (4, 3, 8, 8)),
        (nn.TransformerEncoderLayer(8, 2), (8, 4, 8)),
        (nn.Linear(5, 2, dtype=torch.float64), (4, 5)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_shapes_are_inferred_from_the_first_layer(model: nn.Module, shape: tuple[int, ...]) -> None:
    example, note = example_inputs(model)
    example = example[0] if isinstance(example, tuple) else example
    assert tuple(example.shape) == shape
    assert str(list(shape)) in note
    assert "inferred from" in note


def test_several_arguments_of_known_modules() -> None:
    assert len(example_inputs(nn.MultiheadAttention(8, 2))[0]) == 3
    assert len(example_inputs(nn.Transformer(8, 2, 1, 1, 16))[0]) == 2
    assert [item.shape[1] for item in example_inputs(nn.Bilinear(3, 5, 2))[0]] == [3, 5]
    assert example_inputs(Alone())[0] == ()


@pytest.mark.parametrize(
    ("model", "phrases"),
    [
        (Two(), ["forward takes 2 arguments (x, mask)", "--input x=SHAPE --input mask=SHAPE"]),
        (Raw(), ["is a Raw", "--input 4,16"]),
        (nn.ReLU(), ["ReLU has no layer with parameters"]),
        (
            nn.Sequential(nn.Linear(3, 2), nn.Linear(3, 2)),
            ["Tried:", "float32 [4, 3]", "mat1 and mat2 shapes cannot be multiplied"],
        ),
    ],
    ids=["two", "raw", "relu", "misfit"],
)
def test_what_cannot_be_inferred_says_what_to_give(model: nn.Module, phrases: list[str]) -> None:
    with pytest.raises(UsageError, match="no --input was given") as caught:
        example_inputs(model)
    assert [phrase for phrase in phrases if phrase not in str(caught.value)] == []


# -- the trial -------------------------------------------------------------------------------------


def test_shapes_that_do_not_fit_are_said_in_the_models_words(nets: Path) -> None:
    model = load("nets.py:build").model
    with pytest.raises(UsageError, match="the model does not run") as caught:
        trial.run(model, torch.zeros(4, 3))
    for phrase in ("tried: float32 [4, 3]", "mat1 and mat2", "nets.py:10 in forward", "--input"):
        assert phrase in str(caught.value)


def test_indices_beyond_an_embedding_are_named() -> None:
    model = nn.Sequential(nn.Embedding(10, 3), nn.Linear(3, 2))
    for wrong in (10, -1):
        with pytest.raises(UsageError, match=f"{wrong} reaches the embedding '0'") as caught:
            trial.run(model, torch.tensor([[0, wrong]]))
        assert "10 rows (0 to 9)" in str(caught.value)
        assert "--input SHAPE:int64:0-9" in str(caught.value)


def test_a_trial_leaves_the_model_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout(), nn.Linear(3, 1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    trial.run(model, torch.randn(4, 2, generator=torch.Generator()))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(state, torch.random.get_rng_state())
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert model.training


def test_given_inputs_come_first(nets: Path) -> None:
    target = load("nets.py:pair")
    assert tuple(choose(target, [])[0].shape) == (4, 2)
    assert tuple(choose(target, ["6,2"])[0].shape) == (6, 2)
    embedding = Target("t", nn.Embedding(7, 3))
    example, note = choose(embedding, ["4,8:int64"])
    assert int(example.max()) == 6
    assert "hold 0 to 6" in note


# -- losses and optimizers ---------------------------------------------------------------------------


def test_optimizers_by_name() -> None:
    made = training.optimizer("SGD", lr=None, momentum=0.9)([nn.Parameter(torch.zeros(1))])
    assert made.defaults["momentum"] == 0.9
    with pytest.raises(UsageError, match="no such optimizer; known are 'adam', 'adamw'"):
        training.optimizer("adamm")
    with pytest.raises(UsageError, match="it has no --momentum; it takes lr, betas"):
        training.optimizer("adam", momentum=0.9)


@pytest.mark.parametrize("name", training.LOSSES)
def test_losses_get_targets_that_fit(name: str) -> None:
    output = torch.rand(4, 3)
    function, target = training.loss(name, output)
    assert function(output, target).shape == ()
    function, target = training.loss(name, {"hidden": None, "logits": output})
    assert function({"hidden": None, "logits": output}, target).shape == ()
    assert training.loss(name, torch.rand(4, 3, 5, 5))[1].shape[0] == 4


def test_losses_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="no such loss; known are 'mse'"):
        training.loss("mes", torch.zeros(4, 2))
    with pytest.raises(UsageError, match="the model returns str"):
        training.loss("mse", "text")


# -- memory ----------------------------------------------------------------------------------------


def test_a_model_larger_than_memory_is_refused_with_the_estimate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "available", lambda: 8 * 10**9)
    with pytest.raises(UsageError, match=r"7,000,000,000 parameters take 28\.0 GB") as caught:
        memory.require(7 * 10**9, "config.json")
    assert "about 112.0 GB while they are audited; this machine has 8.0 GB free" in str(
        caught.value
    )
    assert memory.require(10**8, "config.json") is None
    monkeypatch.setattr(memory, "available", lambda: None)
    assert memory.require(10**15, "config.json") is None


def test_free_memory_is_known_here() -> None:
    free = memory.available()
    assert free is None or free > 10**6
    assert memory.size(2_100) == "2.1 kB"
    assert memory.size(3_200_000) == "3.2 MB"


# -- Hugging Face ----------------------------------------------------------------------------------

TINY = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


def config(folder: Path, **settings: Any) -> str:
    (folder / "config.json").write_text(json.dumps(settings))
    return str(folder / "config.json")


@pytest.mark.extras
@pytest.mark.parametrize(
    ("settings", "shapes"),
    [
        ({"model_type": "bert", **TINY}, {"input_ids": (4, 8)}),
        (
            {"model_type": "t5", "vocab_size": 50, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1,
             "num_heads": 2},
            {"input_ids": (4, 8), "decoder_input_ids": (4, 8)},
        ),
        ({"model_type": "vit", **TINY, "image_size": 32, "patch_size": 8}, {"pixel_values": (4, 3, 32, 32)}),
        (
            {"model_type": "wav2vec2", **TINY, "conv_dim": [8] * 7, "num_conv_pos_embeddings": 16,
             "num_conv_pos_embedding_groups": 2},
            {"input_values": (4, 5200)},
        ),
        (
            {"model_type": "clip", "text_config": {**TINY, "max_position_embeddings": 20},
             "vision_config": {**TINY, "image_size": 32, "patch_size": 8}, "projection_dim": 8},
            {"input_ids": (4, 8), "pixel_values": (4, 3, 32, 32)},
        ),
    ],
    ids=["bert", "t5", "vit", "wav2vec2", "clip"],
)  # fmt: skip
def test_configs_bring_model_and_inputs(
    tmp_path: Path, settings: dict[str, Any], shapes: dict[str, tuple[int, ...]]
) -> None:
    target = load(config(tmp_path, **settings))
    example, note = choose(target, [])
    assert {name: tuple(value.shape) for name, value in example.items()} == shapes
    assert "as the model declares" in note
    assert trial.run(target.model, example)


@pytest.mark.extras
def test_the_named_architecture_is_built_and_a_folder_will_do(tmp_path: Path) -> None:
    config(tmp_path, model_type="bert", architectures=["BertForMaskedLM"], **TINY)
    assert type(load(str(tmp_path)).model).__name__ == "BertForMaskedLM"


@pytest.mark.extras
@pytest.mark.parametrize(
    ("settings", "phrases"),
    [
        ({"hidden_size": 3}, ['it has no "model_type"']),
        ({"model_type": "brt"}, ["model_type 'brt' is not part of transformers", "'bert'"]),
        (
            {"model_type": "mine", "auto_map": {"AutoModel": "x.Y"}},
            ["remote code is not run", "name a Python TARGET"],
        ),
        (
            {"model_type": "bert", **TINY, "num_attention_heads": 3},
            ["no model can be built from this config", "is not a multiple"],
        ),
    ],
)
def test_bad_configs(tmp_path: Path, settings: dict[str, Any], phrases: list[str]) -> None:
    refused(config(tmp_path, **settings), *phrases)


def test_configs_that_are_no_configs(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    refused(str(tmp_path / "config.json"), "is not JSON")
    refused(str(tmp_path / "other.json"), "there is no file", "config.json")


@pytest.mark.extras
def test_a_config_larger_than_memory_is_refused_before_it_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available", lambda: 10**9)
    huge = {**TINY, "hidden_size": 8192, "num_hidden_layers": 80, "num_attention_heads": 64}
    refused(config(tmp_path, model_type="bert", **huge), "parameters take", "free")


# -- Keras -----------------------------------------------------------------------------------------


# Keras turns its variables, which are torch parameters, into arrays as NumPy 2 no longer likes it.
KERAS = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@KERAS
@pytest.mark.extras
def test_keras_files(tmp_path: Path) -> None:
    import keras

    layers = [keras.Input((7,)), keras.layers.Embedding(11, 4), keras.layers.LSTM(3)]
    keras.Sequential(layers).save(tmp_path / "net.keras")
    target = load(str(tmp_path / "net.keras"))
    example, _ = choose(target, [])
    assert example.dtype == torch.int64
    assert tuple(example.shape) == (4, 7)
    assert int(example.max()) < 11
    assert tuple(trial.run(target.model, example).shape) == (4, 3)


@KERAS
@pytest.mark.extras
def test_keras_files_that_carry_code_are_refused_unless_trusted(tmp_path: Path) -> None:
    import keras

    file = tmp_path / "net.keras"
    layers = [keras.Input((6,)), keras.layers.Lambda(lambda x: x * 2), keras.layers.Dense(2)]
    keras.Sequential(layers).save(file)
    refused(str(file), "Lambda", "--trust")
    assert load(str(file), trust=True).model is not None

    class Mine(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x

    keras.Sequential([keras.Input((6,)), Mine()]).save(file)
    refused(str(file), "the custom object 'Mine'", "--trust")
    refused(str(file), "cannot be loaded", "Mine", trust=True)


def test_keras_files_that_are_none(tmp_path: Path) -> None:
    file = tmp_path / "net.keras"
    refused(str(file), "there is no file")
    file.write_text("hello")
    refused(str(file), "is not a .keras file", "model.save(")
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("other", "x")
    refused(str(file), "is not a .keras file")
