"""Promises of older bundles: the weights and the names of classes are found where the old software found them."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from poise.errors import BundleError
from poise.serve import read_bundle
from tests.serve.legacy.old_networks import make_network, pack, saved, sizes_of, state_of


def weights(mark: float) -> bytes:
    """Weights that tell by one number which file they came from."""
    state = state_of(make_network())
    state["classifier.3.bias"] = torch.full((3,), mark)
    return saved(state)


def mark_of(path: Path) -> float:
    return float(read_bundle(path).head.arrays["head.out.bias"][0, 0, 0])


@pytest.mark.parametrize(
    "names",
    [
        ["model.pt", "model.pth", "checkpoint.pt", "checkpoint.pth", "weights.pt", "a.pt"],
        ["model.pth", "a.pt"],
        ["checkpoint.pt", "a.pt", "artifacts/model.pt"],
        ["weights.pt", "a.pt"],
        ["artifacts/model.pt", "a.pt", "b/model.pt"],
        ["artifacts/checkpoint.pt", "a.pt"],
        ["final_mlp.pt", "final_mlp_2.pt"],
        ["a.pth", "b.pt"],
        ["b.pt", "folder/a.pt"],
        ["x/a.pt", "w/a.pth"],
        ["deep/er/a.pt", "deeper.txt"],
        ["FINAL.PT", "notes.txt"],
    ],
)
@pytest.mark.parametrize("folder", ["", "final_model_bundle/"])
@pytest.mark.parametrize("litter", [False, True])
def test_the_first_name_wins(tmp_path: Path, names: list[str], folder: str, *, litter: bool) -> None:
    """Well-known names, then those at the top in order, then any; in a folder or not; with what Macs leave behind."""
    files: dict[str, Any] = {f"{folder}{name}": weights(float(place)) for place, name in reversed([*enumerate(names)])}
    if litter:
        files |= {f"__MACOSX/{folder}._{names[0]}": b"x", f"{folder}.DS_Store": b"x", f"{folder}._model.pt": b"x"}
    path = pack(tmp_path / "old.zip", files)
    assert mark_of(path) == 0
    origin = read_bundle(path).converted_from
    assert origin is not None
    assert origin["file"] == names[0]
    assert re.fullmatch("[0-9a-f]{64}", origin["sha256"])


@pytest.mark.parametrize(
    ("style", "content"),
    [
        ("state_dict", lambda net: {"state_dict": net.state_dict(), **sizes_of(net)}),
        ("state_dict", lambda net: {"state_dict": state_of(net, "module."), **sizes_of(net)}),
        ("state_dict", lambda net: {"state_dict": net.state_dict()}),
        (
            "model_state_dict",
            lambda net: {"model_state_dict": net.state_dict(), "hyperparams": sizes_of(net), "aux": {}},
        ),
        (
            "model_state_dict",
            lambda net: {"model_state_dict": state_of(net, "module."), "hyperparams": None, "aux": None},
        ),
        ("model_state_dict", lambda net: {"model_state_dict": net.state_dict(), **sizes_of(net), "epoch": 3}),
        (
            "model_state_dict",
            lambda net: {
                "model_state_dict": net.state_dict(),
                "hyperparams": {**sizes_of(net), "lr": 1e-3, "layers": (1, 2), "name": "run", "warm": True},
                "aux": {"scaler": None, "history": [0.5, {"loss": 1.0}], "counts": torch.ones(3, dtype=torch.int64)},
            },
        ),
        ("bare", lambda net: net.state_dict()),
        ("bare", lambda net: state_of(net, "module.")),
        ("bare", lambda net: {name: torch.nn.Parameter(tensor) for name, tensor in net.state_dict().items()}),
    ],
)
def test_every_style_is_read(tmp_path: Path, style: str, content: Any) -> None:
    """Weights beside their sizes, below another name, or bare; trained on one device or on several."""
    network = make_network()
    bundle = read_bundle(pack(tmp_path / "old.zip", {"model.pt": saved(content(network))}))
    assert bundle.converted_from is not None
    assert bundle.converted_from["style"] == style
    torch.testing.assert_close(
        torch.from_numpy(bundle.head.arrays["head.out.weight"][0]), network.state_dict()["classifier.3.weight"]
    )


@pytest.mark.parametrize(
    "said",
    [
        {"0": "low", "1": "moderate", "2": "high"},
        {"2": "high", "1": "moderate", "0": "low"},
        {"low": 0, "moderate": 1, "high": 2},
        {"high": 2, "low": 0, "moderate": 1},
        ["low", "moderate", "high"],
    ],
)
def test_names_of_classes_come_in_the_order_of_their_numbers(tmp_path: Path, said: Any) -> None:
    """From number to name or from name to number, at the top or beside the weights, or within the weights."""
    content = weights(0.0)
    for files in (
        {"model.pt": content, "class_map.json": said},
        {"run/model.pt": content, "run/class_map.json": said},
        {"readme.txt": "", "run/model.pt": content, "run/class_map.json": said},
    ):
        assert read_bundle(pack(tmp_path / "old.zip", files)).label_names == ("low", "moderate", "high")
    inside = {"model_state_dict": state_of(make_network()), "aux": {"class_names": said}}
    old = pack(tmp_path / "old.zip", {"model.pt": saved(inside)})
    assert read_bundle(old).label_names == ("low", "moderate", "high")
    other = {"0": "a", "1": "b", "2": "c"}
    old = pack(tmp_path / "old.zip", {"model.pt": saved(inside), "class_map.json": other})
    assert read_bundle(old).label_names == ("a", "b", "c")


def test_classes_without_names_have_numbers(tmp_path: Path) -> None:
    """As the old training wrote them where it had no names."""
    assert read_bundle(pack(tmp_path / "old.zip", {"model.pt": weights(0.0)})).label_names == (
        "class_0",
        "class_1",
        "class_2",
    )


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"0": "low", "1": "high"}, "its network tells 3 classes apart, but 2 have names: low, high"),
        ({"0": "low", "1": "moderate", "3": "high"}, "class_map.json is .* from two to 100 different names"),
        ({"1": "low", "2": "moderate", "3": "high"}, "class_map.json is"),
        ({"0": "low", "1": "moderate", "02": "high", "2": "more"}, "class_map.json is"),
        ({"0": "low", "1": "low", "2": "high"}, "class_map.json is"),
        ({"low": 0, "moderate": 0, "high": 2}, "class_map.json is"),
        ({"low": 0, "moderate": 1.0, "high": 2}, "class_map.json is"),
        ({"low": False, "moderate": True, "high": 2}, "class_map.json is"),
        ({"0": None, "1": "moderate", "2": "high"}, "class_map.json is"),
        ({"0": ["low"], "1": "moderate", "2": "high"}, "class_map.json is"),
        ({"0": "lo\nw", "1": "moderate", "2": "high"}, "class_map.json is"),
        ({"0": "", "1": "moderate", "2": "high"}, "class_map.json is"),
        ({}, "class_map.json is"),
        ("low", "class_map.json is"),
        (["low", 1, "high"], "class_map.json is"),
        (b"{", "class_map.json cannot be read"),
        (b'{"0": "a", "0": "b"}', "class_map.json cannot be read: a name stands twice"),
        (random.Random(0).randbytes(1_100_000), "class_map.json is longer than"),
        (b"[" * 100_000, "class_map.json cannot be read: it is nested too deeply"),
    ],
)
def test_names_that_do_not_fit_are_refused(tmp_path: Path, said: Any, message: str) -> None:
    """A wrong name is a wrong prediction: none is guessed."""
    content = said if isinstance(said, bytes) else json.dumps(said)
    path = pack(tmp_path / "old.zip", {"model.pt": weights(0.0), "class_map.json": content})
    with pytest.raises(BundleError, match=message):
        read_bundle(path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"readme.txt": "hello"},
            "it is not a model: it holds readme.txt. Expected a ZIP of `poise train`, or an older",
        ),
        ({"a/": "", "b/": ""}, "it is not a model: it holds nothing"),
        ({"model/bundle.json": "{}", "model/head.safetensors": ""}, "it holds a bundle in a folder. Give the ZIP"),
        ({"inner.zip": "PK"}, "it holds another ZIP, inner.zip, and no model. Unpack it"),
        ({"run/model.zip": "PK"}, "it holds another ZIP, model.zip"),
        ({"model.pkl": "x"}, "model.pkl is a pickle or of unknown kind, which is not read"),
        ({"model.joblib": "x"}, "model.joblib is a pickle or of unknown kind"),
        ({"__MACOSX/._model.pt": "x"}, "it is not a model: it holds nothing"),
        ({"model.pt/": "", "a.txt": "x"}, "it is not a model: it holds a.txt"),
    ],
)
def test_a_zip_without_weights_says_what_it_holds(tmp_path: Path, files: dict[str, Any], message: str) -> None:
    """And what to do with it."""
    with pytest.raises(BundleError, match=message):
        read_bundle(pack(tmp_path / "old.zip", files))


def test_a_file_of_torch_itself_says_what_to_do(tmp_path: Path) -> None:
    """It is a ZIP as well, and looks like a bundle from outside."""
    (tmp_path / "model.pt").write_bytes(weights(0.0))
    with pytest.raises(BundleError, match="it is a file of torch.save itself. Put it into a ZIP, as model.pt"):
        read_bundle(tmp_path / "model.pt")
