"""Models that are ready to serve: one for each content of a file, shared by all visitors of a server."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from poise.app.uploads import MAX_MODEL_MB, MB, private_file
from poise.app.wording import show_name, tell
from poise.errors import BundleError
from poise.serve.bundle import Bundle, read_bundle
from poise.serve.predict import Predictor
from poise.store.regular import read_regular

N_KEPT = 2
"""Models that stay ready; each holds its encoders in memory."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedModel:
    """A model that is ready.

    Attributes
    ----------
    name : str
        Of its file, as it is shown.
    digest : str
        sha256 of the file, 64 hexadecimal digits.
    bundle : Bundle
    predictor : Predictor
    """

    name: str
    digest: str
    bundle: Bundle
    predictor: Predictor

    @property
    def title(self) -> str:
        """Name and the beginning of the digest, which tell two models of one name apart."""
        return f"{self.name} ({self.digest[:8]})"


@dataclass
class _Slot:
    """Where a model is made: by one thread, while others wait. Without a model it goes with the last of them."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    n_users: int = 0
    made: tuple[Bundle, Predictor] | None = None


class ModelCache:
    """Makes models ready, each content once; threads may share it.

    Parameters
    ----------
    make : callable
        Makes a predictor of a bundle.
    most : int
        Models that stay; the one that was not asked for longest goes once another is ready.
    """

    def __init__(self, make: Callable[[Bundle], Predictor], *, most: int = N_KEPT) -> None:
        self._make = make
        self._most = most
        self._lock = threading.Lock()
        self._slots: OrderedDict[tuple[str, bool], _Slot] = OrderedDict()

    def load(self, data: bytes, name: str, *, trust_pickle: bool = False) -> LoadedModel:
        """The model in these bytes.

        Parameters
        ----------
        data : bytes
            A bundle's file.
        name : str
            Of the file, as a visitor knows it.
        trust_pickle : bool
            See :func:`poise.serve.read_bundle`.

        Raises
        ------
        BundleError
            It is no bundle, or cannot be served here.
        EncoderError
            An encoder is not on this machine.
        """
        digest = hashlib.sha256(data).hexdigest()
        with self._slot((digest, trust_pickle)) as slot:
            if slot.made is None:
                bundle = _read(data, name, trust_pickle=trust_pickle)
                slot.made = bundle, self._make(bundle)
            bundle, predictor = slot.made
        return LoadedModel(name=show_name(name, instead="the model"), digest=digest, bundle=bundle, predictor=predictor)

    @contextmanager
    def _slot(self, key: tuple[str, bool]) -> Iterator[_Slot]:
        with self._lock:
            slot = self._slots.setdefault(key, _Slot())
            slot.n_users += 1
        try:
            with slot.lock:
                yield slot
        finally:
            with self._lock:
                slot.n_users -= 1
                self._tidy(key, slot)

    def _tidy(self, key: tuple[str, bool], slot: _Slot) -> None:
        if self._slots.get(key) is slot:
            self._slots.move_to_end(key)
            if slot.made is None and not slot.n_users:
                del self._slots[key]
        ready = [key for key, one in self._slots.items() if one.made is not None]
        for oldest in ready[: -self._most]:
            del self._slots[oldest]


def read_model_file(path: str) -> bytes:
    """The content of a model's file on the server's disk.

    Raises
    ------
    BundleError
        There is no such file, or it is none that could be a model.
    """
    try:
        return read_regular(Path(path).expanduser(), max_bytes=MAX_MODEL_MB * MB)
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BundleError(f"{path} cannot be read: {reason}. Expected a ZIP that `poise train` wrote.") from error


def _read(data: bytes, name: str, *, trust_pickle: bool) -> Bundle:
    with private_file(data, ".zip", max_mb=MAX_MODEL_MB) as file:
        try:
            return read_bundle(file, trust_pickle=trust_pickle)
        except BundleError as error:
            raise BundleError(tell(error, {str(file): show_name(name, instead="the model")})) from error
