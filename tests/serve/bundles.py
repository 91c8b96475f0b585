"""Bundles for tests, and ZIPs that no tool would make."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from poise.heads import ClipClassifier
from poise.serve import Bundle
from poise.store import Bags

ROOT = Path(__file__).parents[2]


def make_bundle(head: str = "ridge", **settings: Any) -> tuple[Bundle, ClipClassifier, Bags]:
    """A bundle, its classifier and what that was trained on."""
    rng = np.random.default_rng(0)
    y = np.arange(30) % 3
    bags = Bags.from_arrays({"video": [rng.standard_normal((2 + i % 3, 5)) + y[i] for i in range(30)]})
    model = ClipClassifier(fusion="video", head=head, **settings).fit(bags, y)
    spec = {
        "schema": 1,
        "modality": "video",
        "encoder": {"name": "motion", "dim": 5},
        "clips": {"window_s": 5.0, "hop_s": 5.0, "min_tail_s": 3.0},
        "decoder": {"backend": "pyav", "contract": 1},
        "dtype": "float16",
    }
    strategy = f"{model.pooling}/video/{head}"
    row = {"strategy": strategy, "protocol": "logo:speaker", "scored": "all", "n": 30}
    bundle = Bundle(
        label_names=("low", "moderate", "high"),
        extraction={"video": spec},
        strategy=strategy,
        head=model.export_state(),
        validation=({**row, "metrics": {"qwk": 0.5, "accuracy": 0.6, "mae": None}, "interval": {"qwk": [0.2, 0.7]}},),
        audit={"verdict": "supported", "sentence": "Supported: it is.", "ladder": [], "warnings": []},
        training={"n_recordings": 30, "n_copies": 0, "n_speakers": 6, "digest": "0" * 64},
        versions={"poise": "0.1.0"},
    )
    return bundle, model, bags


def members(path: Path) -> dict[str, bytes]:
    """The files of a ZIP."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path: Path, contents: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    """A ZIP as tools make it."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def repack(good: Path, path: Path, change: Callable[[dict[str, bytes]], dict[str, bytes]]) -> Path:
    """A ZIP whose files were changed."""
    return pack(path, change(members(good)))


def edited(content: bytes, **changes: Any) -> bytes:
    """JSON with other values."""
    return json.dumps({**json.loads(content), **changes}).encode()


@dataclass
class Entry:
    """One file of a hand-made ZIP; what is None follows from the content."""

    name: str
    content: bytes = b"x"
    deflate: bool = False
    flags: int = 0
    method: int | None = None
    attributes: int = 0o100644 << 16
    size: int | None = None
    packed_size: int | None = None
    crc: int | None = None
    offset: int | None = None
    local_name: str | None = None
    packed: bytes | None = None


def hand_made(entries: list[Entry], *, front: bytes = b"", comment: bytes = b"") -> bytes:
    """The bytes of a ZIP whose headers say what they are told to say."""
    body, listed = front, b""
    for one in entries:
        raw = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed = one.packed if one.packed is not None else one.content
        if one.deflate and one.packed is None:
            packed = raw.compress(one.content) + raw.flush()
        method = (8 if one.deflate else 0) if one.method is None else one.method
        crc = zlib.crc32(one.content) if one.crc is None else one.crc
        size = len(one.content) if one.size is None else one.size
        packed_size = len(packed) if one.packed_size is None else one.packed_size
        name = one.name.encode()
        local = (one.name if one.local_name is None else one.local_name).encode()
        offset = len(body) if one.offset is None else one.offset
        shared = (one.flags | 0x800, method, 0, 33, crc, packed_size, size)
        if one.offset is None:
            body += b"PK\x03\x04" + struct.pack("<5H3L2H", 20, *shared, len(local), 0) + local + packed
        listed += b"PK\x01\x02" + struct.pack(
            "<6H3L5H2L", 0x314, 20, *shared, len(name), 0, 0, 0, 0, one.attributes, offset
        )
        listed += name
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, len(entries), len(entries), len(listed), len(body), len(comment))
    return body + listed + end + comment


def run_bounded(code: str, *arguments: str, megabytes: int = 300) -> subprocess.CompletedProcess[str]:
    """Run code in a process that may take so much more memory than it has once everything is imported.

    ``bounded()`` begins to count, ``peak_mb()`` says how much more it took at most.
    """
    head = f"""
import resource, sys, warnings
sys.path.insert(0, {str(ROOT)!r})
warnings.simplefilter("error")
import numpy, torch
from poise.errors import BundleError
from poise.serve import read_bundle
from poise.heads import ClipClassifier
import poise.heads.neural.network

def _now_kb(field="VmRSS"):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field + ":"))

def bounded():
    global _before
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak begins anew
    _before = _now_kb()
    limit = (_now_kb("VmSize") + {megabytes} * 1024) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

def peak_mb():
    return (_now_kb("VmHWM") - _before) / 1024
"""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("memory is counted in Linux' /proc")
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # stacks of threads count too
    command = [sys.executable, "-c", head + code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=one_thread)
