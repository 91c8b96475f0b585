"""Promises of reading weights: nothing foreign runs, nothing is written, and what is hostile costs nothing."""

from __future__ import annotations

import collections
import io
import os
import pickle
import pickletools
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from poise.errors import BundleError
from poise.serve import read_bundle
from poise.serve.legacy import older
from poise.serve.legacy.checkpoint import check_torch
from poise.serve.legacy.pickles import MAX_BYTES, list_objects
from tests.serve.bundles import run_bounded
from tests.serve.legacy.old_networks import make_network, old_bundle, pack, saved, sizes_of, state_of


class Runs:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return (os.system, (f"touch {self.marker}",))


class Evaluates(Runs):
    def __reduce__(self) -> Any:
        return (eval, (f"open({str(self.marker)!r}, 'w')",))


class Opens(Runs):
    """Passes scanners that look for calls of a shell."""

    def __reduce__(self) -> Any:
        return (open, (str(self.marker), "a"))


def with_pickle(data: bytes, good: bytes | None = None, **files: bytes) -> bytes:
    """A file of torch whose list of weights is this pickle."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(good or saved(state_of(make_network())))) as source,
        zipfile.ZipFile(buffer, "w") as target,
    ):
        for name in source.namelist():
            target.writestr(name, data if name.endswith("/data.pkl") else files.get(name, source.read(name)))
    return buffer.getvalue()


def old(tmp_path: Path, content: bytes, name: str = "model.pt") -> Path:
    return pack(tmp_path / "old.zip", {name: content})


CODE: dict[str, Callable[[Path], bytes]] = {
    "os.system in a state dict": lambda m: saved({**state_of(make_network()), "x": Runs(m)}),
    "eval beside a state dict": lambda m: saved({"state_dict": state_of(make_network()), "aux": Evaluates(m)}),
    "open as hyperparams": lambda m: saved({"model_state_dict": {}, "hyperparams": Opens(m), "aux": {}}),
    "a whole model": lambda _: saved({"model": make_network(), "aux": {}}),
    "a bare model": lambda _: saved(make_network()),
    "a pickle": lambda m: pickle.dumps(Runs(m)),
    "a pickle of protocol 4": lambda m: with_pickle(pickle.dumps(Runs(m), protocol=4)),
    "a pickle of protocol 0": lambda m: with_pickle(pickle.dumps(Runs(m), protocol=0)),
    "torch's old format": lambda m: saved({"x": Runs(m)}, _use_new_zipfile_serialization=False),
    "a state dict in torch's old format": lambda _: saved(
        state_of(make_network()), _use_new_zipfile_serialization=False
    ),
    "code in a persistent id": lambda _: with_pickle(b"\x80\x02(cposix\nsystem\nX\x02\x00\x00\x00id\x85RtQ."),
    "a class that would be made": lambda _: with_pickle(b"\x80\x02csubprocess\nPopen\nX\x02\x00\x00\x00id\x85\x81."),
    "an instance of old": lambda _: with_pickle(b"\x80\x02(X\x02\x00\x00\x00idios\nsystem\n."),
    "numpy": lambda _: saved({"state_dict": state_of(make_network()), "in_dim": np.int64(1536)}),
    "a namespace": lambda m: saved({"state_dict": state_of(make_network()), "aux": {"args": m}}),
}


@pytest.mark.parametrize("kind", list(CODE))
def test_objects_are_refused_with_what_to_do_and_never_run(tmp_path: Path, kind: str) -> None:
    """Whatever a pickle asks for beyond weights: one error that names the way out, and not the one torch advises."""
    marker = tmp_path / "ran"
    (tmp_path / "place").mkdir()
    path = old(tmp_path / "place", CODE[kind](marker))
    with pytest.raises(BundleError) as caught:
        read_bundle(path)
    said = str(caught.value)
    assert not marker.exists()
    assert said.startswith(f"{path}: model.pt: ")
    assert "--trust-pickle" in said
    assert "Have it saved again where it was trained" in said
    assert "weights_only" not in said
    assert [place.name for place in (tmp_path / "place").iterdir()] == ["old.zip"]


def test_no_cause_of_an_error_shows_the_advice_of_torch(tmp_path: Path) -> None:
    """Also with --debug, nobody is told to load a file without protection."""
    content = with_pickle(pickletools.optimize(_pickle_of(saved(state_of(make_network()))))[:-200] + b".")
    with pytest.raises(BundleError) as caught:
        read_bundle(old(tmp_path, content))
    error: BaseException | None = caught.value
    while error is not None:
        assert "weights_only" not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _pickle_of(content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return next(archive.read(name) for name in archive.namelist() if name.endswith("/data.pkl"))


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


HEAD = b"\x80\x02"
BYTEARRAY = HEAD + b"cbuiltins\nbytearray\n" + number(2**31 - 1) + b"\x85R."
TENSOR = HEAD + b"ctorch\nTensor\n" + number(2**31 - 1) + b"\x85R."
STORAGE = HEAD + b"ctorch.storage\nUntypedStorage\n" + number(2**31 - 1) + b"\x85R."


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (BYTEARRAY, "builtins.bytearray"),
        (TENSOR, "torch.Tensor"),
        (STORAGE, "torch.storage.UntypedStorage"),
        (HEAD + b"ccollections\nOrderedDict\n]\x85R.", "calls collections.OrderedDict with arguments"),
        (HEAD + b"ctorch\nFloatStorage\n)R.", "calls torch.FloatStorage with arguments"),
        (HEAD + b"K\x01)R.", "calls what is no function"),
        (HEAD + b")" + b"\x85" * 100 + b".", "tuples within tuples without end"),
        (HEAD + b")" + b"q\x00h\x00h\x00\x86" * 19 + b".", "would make very much of little"),
        (HEAD + b"}" + b"}b" * 2000 + b".", "would make very much of little"),
        (HEAD + b"\x8f.", "it has the instruction EMPTY_SET"),
        (HEAD + b"\x95" + bytes(8) + b".", "it has the instruction FRAME"),
        (b"\x80\x04N.", "it has the instruction PROTO"),
        (HEAD + b"h\x07.", "is damaged"),
        (HEAD + b"\x86.", "is damaged"),
        (HEAD + b"u.", "is damaged"),
        (HEAD + b"R.", "is damaged"),
        (HEAD + b"Q.", "is damaged"),
        (HEAD, "is damaged"),
        (b"", "is damaged"),
        (b"\xff\xff", "is damaged"),
        (HEAD + b"S'\\M'\n.", "is damaged"),
        (HEAD + b"S'text'\n.", "it has the instruction STRING"),
        (HEAD + b"X\xff\xff\xff\xffabc.", "is damaged"),
        (b"N" * (MAX_BYTES + 1), "list of weights is 262,145 bytes, expected at most 262,144"),
        (HEAD + b"N.", "it holds a NoneType, expected weights by name"),
        (HEAD + b"K\x05.", "it holds a int, expected weights by name"),
        (HEAD + b"}.", "it holds a dict, expected weights by name"),
        (HEAD + b"].", "it holds a list, expected weights by name"),
        (HEAD + b"}X\x0a\x00\x00\x00state_dictNs.", "its state_dict is a NoneType, expected weights by name"),
        (HEAD + b"}X\x0a\x00\x00\x00state_dict}s.", "it holds 0 weights, expected from 1 to 100"),
        (HEAD + b"}K\x01K\x02s.", "it holds 1 weights, expected from 1 to 100 with names"),
    ],
)
def test_a_list_of_weights_that_is_none_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    """Calls with sizes, towers of tuples, instructions of other protocols, and what ends too early."""
    with pytest.raises(BundleError, match=message):
        read_bundle(old(tmp_path, with_pickle(data)))


def test_what_saved_weights_need_is_known(tmp_path: Path) -> None:
    """A plain file of torch asks for nothing else, whatever plain values stand beside the weights."""
    network = make_network()
    beside = {"a": 1, "b": 2.5, "c": None, "d": "text", "e": [True, (1, (2, 3))], "f": {1: 2}, "g": 2**80}
    more = {"h": torch.nn.Parameter(torch.ones(2)), "i": torch.ones(2, dtype=torch.bool), "j": torch.float32}
    content = {"state_dict": network.state_dict(), **sizes_of(network), "aux": {**beside, **more}}
    assert list_objects(_pickle_of(saved(content))) == []
    read_bundle(old(tmp_path, saved(content)))
    odd = saved({"a": {1, 2}, "b": collections.Counter("x"), "c": b"bytes"})
    assert list_objects(_pickle_of(odd)) == ["__builtin__.set", "collections.Counter", "_codecs.encode"]


def tensor_of(size: str, stride: str, numel: int = 3) -> bytes:
    """A pickle of one weight with this size and stride on a storage of so many numbers."""
    name, key = b"X\x04\x00\x00\x00bias", b"X\x01\x00\x00\x000"
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\n" + key + b"X\x03\x00\x00\x00cpu" + number(numel) + b"tQ"
    shape, steps = (b"(" + b"".join(number(int(n)) for n in part.split()) + b"t" for part in (size, stride))
    call = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00" + shape + steps + b"\x89N"
    return HEAD + b"}" + name + call + b"tRs."


@pytest.mark.parametrize(
    ("data", "record", "message"),
    [
        (tensor_of("3", "1"), 12, "is of no network|no network that is known"),
        (tensor_of("4", "1"), 12, "cannot be read: what it says of them and what it holds differ"),
        (tensor_of("3", "1", 4), 12, "cannot be read"),
        (tensor_of("3", "1", 2**31 - 1), 12, "cannot be read"),
        (tensor_of("-3", "1"), 12, "cannot be read"),
        (tensor_of("3", "-1"), 12, "cannot be read"),
        (tensor_of("1000000 1000000", "0 0"), 12, "'bias' is a tensor of .* at most 16,777,216 numbers"),
        (tensor_of("3000 3000", "0 0"), 12, "'bias' has more numbers than the file"),
        (tensor_of("1 1 3", "3 3 1"), 12, "'bias' is a tensor"),
    ],
)
def test_a_tensor_that_is_not_there_is_refused(tmp_path: Path, data: bytes, record: int, message: str) -> None:
    """Views beyond their storage, of negative sizes, and of a trillion numbers on three."""
    good = saved({"bias": torch.ones(record // 4)})
    with pytest.raises(BundleError, match=message):
        read_bundle(old(tmp_path, with_pickle(data, good)))


def test_hostile_weights_take_little_memory(tmp_path: Path) -> None:
    """Bombs in the file of torch, calls that fill the memory and towers of tuples: refused where they do not fit."""
    old_bundle(tmp_path / "good.zip")
    files = {
        "bytearray": with_pickle(BYTEARRAY),
        "storage": with_pickle(STORAGE),
        "tensor": with_pickle(tensor_of("30000 30000", "0 0"), saved({"bias": torch.ones(3)})),
        "tuples": with_pickle(HEAD + b"}" + b")" + b"\x85" * 250_000 + b"Ns."),
        "copies": with_pickle(HEAD + b"(" + b"(" * 50_000 + b"t" * 50_000 + b"t."),
        "steps": with_pickle(HEAD + b"N0" * 130_000 + b"."),
    }
    for name, content in files.items():
        pack(tmp_path / f"{name}.zip", {"model.pt": content})
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", tensor_of("3", "1"))
        archive.writestr("archive/data/0", bytes(250_000_000))
    pack(tmp_path / "bomb.zip", {"model.pt": bomb.getvalue()})
    code = """
read_bundle(sys.argv[1])
bounded()
for path in sys.argv[2:]:
    try:
        read_bundle(path)
    except BundleError as error:
        print("refused", str(error)[:120])
print("peak", peak_mb())
"""
    paths = [str(tmp_path / f"{name}.zip") for name in (*files, "bomb")]
    done = run_bounded(code, str(tmp_path / "good.zip"), *paths, megabytes=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("refused") == len(paths), done.stdout
    assert float(done.stdout.split("peak")[1]) < 150


def test_checksums_inside_the_file_of_torch_count(tmp_path: Path) -> None:
    """Torch itself reads on; here a flipped bit of a weight is damage."""
    content = bytearray(saved(state_of(make_network())))
    place = content.index(b"data/0") + 200
    content[place] ^= 1
    with zipfile.ZipFile(io.BytesIO(bytes(content))) as archive:
        assert archive.testzip() is not None
    with pytest.raises(BundleError, match="data/0 is not what was packed"):
        read_bundle(old(tmp_path, bytes(content)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a pickle of another kind, or was saved by a torch before 1.6"),
        (b"PK\x03\x04 and no more", "it is not a whole ZIP"),
        (saved(state_of(make_network()))[:-30], "it is not a whole ZIP"),
    ],
)
def test_a_file_of_torch_that_is_cut_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """Empty, cut, or something else under its name."""
    with pytest.raises(BundleError, match=message):
        read_bundle(old(tmp_path, content))


def test_weights_that_are_larger_than_any_network_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """128 MiB, and less in this test: neither they nor a scaler beside them is unpacked."""
    monkeypatch.setattr(older, "MAX_BYTES", 300_000)
    old_bundle(tmp_path / "old.zip")
    read_bundle(tmp_path / "old.zip")
    for name in ("model.pt", "scaler.pkl"):
        path = old_bundle(tmp_path / "old.zip", **{name: np.random.default_rng(0).bytes(300_001)})
        with pytest.raises(BundleError, match=f"{name} is 300,001 bytes, expected at most 300,000. It is not read"):
            read_bundle(path)


def test_a_zip_that_torch_did_not_write_is_refused(tmp_path: Path) -> None:
    """Without a list of weights, in two folders, or a program."""
    for files, message in [
        ({"archive/data/0": b"x"}, "it has no data.pkl in its one folder"),
        ({"archive/data.pkl": b"N.", "other/data.pkl": b"N."}, "it has no data.pkl in its one folder"),
        ({"data.pkl": b"N."}, "it has no data.pkl in its one folder"),
        ({"archive/data.pkl": b"N.", "archive/constants.pkl": b"N."}, "it is a TorchScript program"),
    ]:
        inner = pack(tmp_path / "inner.pt", dict(files)).read_bytes()
        with pytest.raises(BundleError, match=message):
            read_bundle(old(tmp_path, inner))


@pytest.mark.parametrize("version", ["2.9.1", "1.13.0+cu117", "unknown"])
def test_a_torch_that_is_not_safe_reads_no_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """Before 2.10 its reader of weights alone could be made to write into foreign memory."""
    monkeypatch.setattr(torch, "__version__", version)
    with pytest.raises(BundleError, match=re.escape(f"takes torch 2.10 or later, this is {version}")):
        read_bundle(old_bundle(tmp_path / "old.zip"))
    monkeypatch.setattr(torch, "__version__", "10.0.0")
    check_torch()


def test_any_changed_byte_of_a_list_of_weights_is_an_error_of_ours_or_the_same_weights(tmp_path: Path) -> None:
    """Nothing but our error leaves, whatever is flipped in what torch unpickles."""
    good = saved({"state_dict": state_of(make_network(hidden_dim=1, attn_dim=1)), "num_classes": 3})
    data = _pickle_of(good)
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 0x04
        try:
            read_bundle(old(tmp_path, with_pickle(bytes(changed), good)))
        except BundleError:
            continue
