"""``poise doctor``: what works on this machine."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poise.commands.terminal import JsonOption, console, print_json, print_table

if TYPE_CHECKING:
    from poise.store.schema import Modality

BASE_MODELS = ("MCG-NJU/videomae-base", "microsoft/wavlm-base-plus")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that works, or does not.

    Attributes
    ----------
    name : str
        What was looked at.
    ok : bool
        Whether it works.
    needed : bool
        Whether poise cannot do its main job without it.
    detail : str
        What was found, or what to do.
    """

    name: str
    ok: bool
    needed: bool
    detail: str


def register(app: typer.Typer) -> None:
    """Add ``doctor`` to the command line."""
    app.command("doctor", epilog="Example: poise doctor --store features")(doctor)


def doctor(
    store: Annotated[Path | None, typer.Option("--store", metavar="DIR", help="Check this feature store too.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what works on this machine.

    Torch and device, decoders, weights in the cache, the health of a store.
    """
    checks = list(_checks(store))
    ok = all(check.ok for check in checks if check.needed)
    if as_json:
        print_json({"ok": ok, "checks": [asdict(check) for check in checks]})
    else:
        rows = [[_mark(check), check.name, check.detail] for check in checks]
        print_table(["", "what", "found"], rows)
        console().print(_verdict(checks))
    if not ok:
        raise typer.Exit(1)


_OFFLINE = ", extra offline"


def _verdict(checks: list[Check]) -> str:
    if not all(check.ok for check in checks if check.needed):
        return "Not ready: see the lines marked 'broken'."
    if not all(check.ok for check in checks if check.name.startswith("weights ")):
        offline = [check.name.removesuffix(_OFFLINE) for check in checks if check.ok and check.name.endswith(_OFFLINE)]
        *most, last = ["motion", "prosody", *offline]
        return (
            f"Ready with the encoders {', '.join(most)} and {last}. The default encoders' weights are not here: the "
            "first extraction downloads them, or give local folders."
        )
    return "Ready."


def _mark(check: Check) -> str:
    if check.ok:
        return "ok"
    return "broken" if check.needed else "absent"


def _checks(store: Path | None) -> Iterator[Check]:
    from poise import __version__
    from poise.extract.encoders.registry import PACKAGED

    yield Check(name="poise", ok=True, needed=True, detail=f"{__version__}, Python {platform.python_version()}")
    yield _try("torch", _torch)
    yield _try("video and sound (PyAV)", _pyav)
    yield _try("second decoder (decord)", _decord, needed=False)
    yield _try("transformers", lambda: _version("transformers"))
    yield _try("LightGBM", lambda: _version("lightgbm"))
    yield _try("librosa", lambda: _version("librosa"))
    for model in BASE_MODELS:
        yield _weights(model)
    for modality, name in PACKAGED.items():
        yield _try(f"{name}{_OFFLINE}", partial(_packaged, name, modality), needed=False)
    yield _try("espeak-ng, for `poise demo`", lambda: _version("espeakng_loader", "espeakng-loader"), needed=False)
    if store is not None:
        yield _try(f"store {store}", lambda: _store(store))


def _try(name: str, look: Callable[[], str], *, needed: bool = True) -> Check:
    try:
        return Check(name=name, ok=True, needed=needed, detail=look())
    except Exception as error:  # noqa: BLE001  a broken package can raise anything, and that is the finding
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        return Check(name=name, ok=False, needed=needed, detail=first)


def _version(module: str, package: str | None = None) -> str:
    from importlib import import_module
    from importlib.metadata import version

    import_module(module)
    return version(package or module)


def _torch() -> str:
    import torch

    if torch.cuda.is_available():
        return f"{torch.__version__}, {torch.cuda.get_device_name()}"
    return f"{torch.__version__}, no GPU: {torch.get_num_threads()} CPU threads"


def _pyav() -> str:
    import av

    codecs = av.codecs_available
    decoders = ", ".join(name for name in ("h264", "hevc", "av1", "vp9", "aac", "opus") if name in codecs)
    return f"{av.__version__}, reads {decoders}"


def _decord() -> str:
    import decord

    return str(decord.__version__)


def _weights(model: str) -> Check:
    from huggingface_hub import try_to_load_from_cache

    there = any(
        isinstance(try_to_load_from_cache(model, name), str) for name in ("model.safetensors", "pytorch_model.bin")
    )
    detail = "in the cache" if there else "not in the cache"
    return Check(name=f"weights {model}", ok=there, needed=False, detail=detail)


def _packaged(name: str, modality: Modality) -> str:
    from poise.extract.encoders.registry import make_encoder

    origin = make_encoder(name, modality, device="cpu").origin()
    return f"weights of {origin['weights']} {origin['version']}"


def _store(path: Path) -> str:
    from poise.errors import StoreDamagedError
    from poise.store import FeatureStore

    report = FeatureStore.open(path).verify()
    if not report.ok:
        raise StoreDamagedError(f"{len(report.problems)} problems; run `poise store verify {path}`")
    return f"{report.n_checked} segments, all sound"
