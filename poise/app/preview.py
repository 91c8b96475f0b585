"""What a browser can play of a recording: the upload itself, or a small H.264 preview made in a process of its own.

Whatever a file does to ffmpeg happens to that process, :mod:`poise.app.preview_child`, which is ended when it is
silent for too long, takes too much, or nobody wants the preview any more.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poise.app.jobs import Watch
from poise.errors import DecoderDiedError, MediaError

STALL_S = 60.0
"""A process that says nothing for so long is ended."""

_WAIT_S = 0.2
_LONGEST_LINE = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What to give to the player.

    Attributes
    ----------
    data : bytes or None
        The preview; None where the upload itself can be played.
    mime : str
        As ``video/mp4``.
    note : str
        What a visitor should know of it; empty if nothing.
    """

    data: bytes | None
    mime: str
    note: str = ""


def make_preview(path: Path, watch: Watch, *, stall_s: float = STALL_S) -> Preview:
    """Find out whether a browser plays a recording, and make a preview if it does not.

    Parameters
    ----------
    path : Path
        The recording.
    watch : Watch
        Told how far it is in seconds, and asked whether to go on.
    stall_s : float
        How long the process may say nothing, seconds.

    Returns
    -------
    Preview

    Raises
    ------
    MediaError
        The recording cannot be read.
    DecoderDiedError
        It ended the process, or hung it.
    CancelledError
        The preview is no longer wanted.
    """
    target = path.with_name("preview.mp4")
    with _child(path, target) as process:
        try:
            for said in _listen(process, watch, stall_s):
                if "error" in said:
                    raise MediaError(str(said["error"]))
                if "mime" in said:
                    data = target.read_bytes() if said.get("made") else None
                    return Preview(data=data, mime=str(said["mime"]), note=str(said.get("note", "")))
                watch.tell(float(said["done_s"]), float(said["total_s"]), "preview")
        finally:
            process.kill()
        code = process.wait()
    raise DecoderDiedError(f"{path}: what makes previews ended with code {code}. The recording may be damaged.")


def _child(path: Path, target: Path) -> subprocess.Popen[bytes]:
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; "
        f"from poise.app.preview_child import main; main({str(path)!r}, {str(target)!r})"
    )
    return subprocess.Popen(  # noqa: S603  our own program
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )


def _listen(process: subprocess.Popen[bytes], watch: Watch, stall_s: float) -> Iterator[dict[str, Any]]:
    """What the process says, one JSON object a line, until it ends."""
    if process.stdout is None:
        return
    stream, waiting, heard = process.stdout.fileno(), b"", time.monotonic()
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while True:
            watch.check()
            if not selector.select(_WAIT_S):
                if time.monotonic() - heard > stall_s:
                    raise DecoderDiedError(f"The recording kept the preview waiting for {stall_s:g} s.", again=False)
                continue
            chunk = os.read(stream, _LONGEST_LINE)
            heard = time.monotonic()
            if not chunk or len(waiting) > _LONGEST_LINE:
                return
            *lines, waiting = (waiting + chunk).split(b"\n")
            for line in lines:
                yield _parse(line)


def _parse(line: bytes) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise DecoderDiedError("What makes previews said something else than it should.", again=False)
    return said
