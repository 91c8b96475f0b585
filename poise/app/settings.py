"""What the app's server was started with, and how that reaches the pages: as one JSON in the environment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from poise.errors import AppError
from poise.store.schema import Modality

VARIABLE = "POISE_APP"
MODEL_VARIABLE = "CONFIDENCE_MODEL_ZIP"
"""Names the model where none is given; read when a page is opened."""


@dataclass(frozen=True, kw_only=True)
class AppSettings:
    """Settings of one server, the same for all who visit it.

    Attributes
    ----------
    model : str
        Path of the model that is loaded first; empty for none.
    study : str
        Folder of the study that is opened first; empty for none.
    max_upload_mb : int
        Size that an upload may have, MB.
    trust_pickle : bool
        Whether a visitor may have Python objects of an older model unpickled, which runs whatever is in them.
    allow_paths : bool
        Whether a visitor may name models and studies on the server's own disk.
    video, audio : str
        Where an encoder is on this machine; empty for where its name says.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    """

    model: str = ""
    study: str = ""
    max_upload_mb: int = 200
    trust_pickle: bool = False
    allow_paths: bool = True
    video: str = ""
    audio: str = ""
    device: str = "auto"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """The settings that :meth:`to_environment` gave; defaults where there are none.

        Raises
        ------
        AppError
            They are not what poise writes.
        """
        given = os.environ if environment is None else environment
        values = _parse(given.get(VARIABLE) or "{}")
        if not values.get("model"):
            values["model"] = given.get(MODEL_VARIABLE, "")
        return cls(**values)

    def to_environment(self) -> dict[str, str]:
        """For the server's environment."""
        return {VARIABLE: json.dumps(asdict(self))}

    @property
    def encoders(self) -> dict[Modality, str]:
        """Where the encoder of a modality is, of those that were given."""
        given: dict[Modality, str] = {"video": self.video, "audio": self.audio}
        return {modality: place for modality, place in given.items() if place}


def _parse(text: str) -> dict[str, Any]:
    kinds = {field.name: type(field.default) for field in fields(AppSettings)}
    try:
        values = json.loads(text)
    except ValueError as error:
        raise AppError(f"{VARIABLE} is not JSON: {error}. Start the app with `poise app`.") from error
    if not isinstance(values, dict) or any(type(value) is not kinds.get(name) for name, value in values.items()):
        raise AppError(f"{VARIABLE} is {text:.200}, expected some of {', '.join(kinds)}. Start it with `poise app`.")
    return values
