"""What is done with an upload: a prediction, a preview. Errors name the upload as its visitor knows it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from poise.app.jobs import Watch
from poise.app.models import LoadedModel
from poise.app.preview import Preview, make_preview
from poise.app.uploads import find_suffix, private_file
from poise.app.wording import show_name, tell
from poise.errors import CancelledError, MediaError, PoiseError
from poise.serve.prediction import Prediction


@dataclass(frozen=True, kw_only=True, eq=False)
class Recording:
    """An upload.

    Attributes
    ----------
    id : str
        Unlike that of every other upload.
    name : str
        As its visitor's browser sent it.
    data : bytes
        What is in it.
    """

    id: str
    name: str
    data: bytes


_SHORTEST_S = 0.005  # what takes less is not told


def predict_upload(model: LoadedModel, recording: Recording, watch: Watch, *, max_mb: int) -> Prediction:
    """What a model says of an upload.

    Parameters
    ----------
    model : LoadedModel
    recording : Recording
    watch : Watch
        Told how far it is, and asked whether to go on.
    max_mb : int
        Size that an upload may have, MB.

    Returns
    -------
    Prediction
        Its ``path`` is the name, as it is shown.

    Raises
    ------
    MediaError
        The upload cannot be read, or lacks what the model needs.
    PoiseError
        An encoder cannot be run.
    CancelledError
        The result is no longer wanted.
    """
    with _opened(recording, max_mb=max_mb) as file:
        found = model.predictor.predict(file, progress=watch.tell, cancelled=watch.cancelled)
    return replace(found, path=show_name(recording.name))


def preview_upload(recording: Recording, watch: Watch, *, max_mb: int) -> Preview:
    """What a browser can play of an upload; see :func:`poise.app.preview.make_preview`.

    Raises
    ------
    MediaError
        The upload cannot be read, or ends the process that does.
    CancelledError
        The preview is no longer wanted.
    """
    with _opened(recording, max_mb=max_mb) as file:
        return make_preview(file, watch)


def write_result(prediction: Prediction, model: LoadedModel) -> str:
    """A prediction as JSON: what ``poise predict --json`` prints of a file, and which model said it.

    Parameters
    ----------
    prediction : Prediction
    model : LoadedModel
    """
    return json.dumps(describe_result(prediction, model), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def describe_result(prediction: Prediction, model: LoadedModel) -> dict[str, Any]:
    """The content of :func:`write_result`."""
    audit = model.bundle.audit
    made_by = {
        "file": model.name,
        "sha256": model.digest,
        "strategy": model.bundle.strategy,
        "verdict": audit.get("verdict"),
        "sentence": audit.get("sentence"),
    }
    return {**prediction.to_json(), "model": made_by}


def describe_timings(prediction: Prediction) -> str:
    """Where the time went, in words."""
    words = {"load": "loading weights", "decode": "waiting for decoders", "encode": "encoding", "head": "head"}
    seconds = prediction.timings
    parts = [f"{words[name]} {_seconds(seconds[name])}" for name in words if seconds.get(name, 0) > _SHORTEST_S]
    if "total" in seconds:
        parts.append(f"{_seconds(seconds['total'])} in all")
    if math.isfinite(prediction.duration_s):
        parts.append(f"for a recording of {_seconds(prediction.duration_s)}")
    return ", ".join(parts)


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value < 10 else f"{value:,.0f} s"


@contextmanager
def _opened(recording: Recording, *, max_mb: int) -> Iterator[Path]:
    """The upload as a private file; errors have the visitor's name for it in place of ours."""
    names: dict[str, str] = {}
    try:
        with private_file(recording.data, find_suffix(recording.data), max_mb=max_mb) as file:
            names = {str(file): show_name(recording.name), str(file.parent): "the server"}
            yield file
    except CancelledError:
        raise
    except MediaError as error:
        raise MediaError(tell(error, names)) from error
    except PoiseError as error:
        raise PoiseError(tell(error, names)) from error
