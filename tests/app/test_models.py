"""Promises of loaded models: each content is made ready once, and what cannot be served is a sentence."""

import threading
from pathlib import Path

import pytest

from poise.app.models import ModelCache, read_model_file
from poise.errors import BundleError, EncoderError
from poise.serve import Bundle, Predictor


class Maker:
    """Makes predictors, and counts them."""

    def __init__(self) -> None:
        self.made: list[Bundle] = []
        self.fails = False
        """Whether the next one cannot be made."""

    def __call__(self, bundle: Bundle) -> Predictor:
        self.made.append(bundle)
        if self.fails:
            self.fails = False
            raise EncoderError("There is no such encoder. Install it.")
        return Predictor(bundle)


def test_one_content_is_made_ready_once_for_all_visitors(model_file: Path) -> None:
    """Eight visitors who load the same file at once share one predictor, each under the name that he gave."""
    make, found, data = Maker(), [], model_file.read_bytes()
    cache = ModelCache(make)
    together = threading.Barrier(8)

    def load(number: int) -> None:
        together.wait()
        found.append(cache.load(data, f"/models/model-{number}.zip"))

    threads = [threading.Thread(target=load, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(make.made) == 1
    assert len({model.digest for model in found}) == len({id(model.predictor) for model in found}) == 1
    assert {model.name for model in found} == {f"model-{number}.zip" for number in range(8)}


def test_only_a_few_models_stay(model_file: Path, supported_file: Path) -> None:
    """The one that was not asked for longest goes, and is made ready again when it is."""
    make = Maker()
    cache = ModelCache(make, most=1)
    first = cache.load(model_file.read_bytes(), "a.zip")
    second = cache.load(supported_file.read_bytes(), "a.zip")
    assert first.digest != second.digest
    assert cache.load(supported_file.read_bytes(), "b.zip").predictor is second.predictor
    assert cache.load(model_file.read_bytes(), "a.zip").predictor is not first.predictor
    assert len(make.made) == 3


def test_what_cannot_be_loaded_pushes_no_model_out(model_file: Path) -> None:
    """Neither broken files nor models that cannot be served here take the place of one that is ready."""
    make = Maker()
    cache = ModelCache(make, most=1)
    first = cache.load(model_file.read_bytes(), "a.zip")
    make.fails = True
    for data in (b"no zip", b"no zip either", model_file.read_bytes()):
        with pytest.raises((BundleError, EncoderError)):
            cache.load(data, "b.zip", trust_pickle=True)
    assert cache.load(model_file.read_bytes(), "a.zip").predictor is first.predictor


def test_who_waits_for_a_model_that_fails_tries_for_himself(model_file: Path) -> None:
    """Of five who ask at once the first is told what is wrong; the others get one model, made once more."""
    make, data = Maker(), model_file.read_bytes()
    found: list[object] = []
    make.fails = True
    cache = ModelCache(make)

    def load() -> None:
        try:
            found.append(cache.load(data, "a.zip").predictor)
        except EncoderError as error:
            found.append(error)

    threads = [threading.Thread(target=load) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(make.made) == 2
    assert sum(isinstance(one, EncoderError) for one in found) == 1
    assert len({id(one) for one in found}) == 2


@pytest.mark.parametrize("data", [b"", b"no zip", b"PK\x05\x06" + b"\0" * 18])
def test_what_is_no_model_is_told_under_its_own_name(data: bytes) -> None:
    """The sentence names the file as its visitor knows it, not where it lay on the server, and nothing is kept."""
    cache = ModelCache(Maker())
    for _ in range(2):
        with pytest.raises(BundleError, match=r"^my model\.zip") as caught:
            cache.load(data, "/home/me/my model.zip")
        assert "poise-upload" not in str(caught.value)


def test_a_model_on_the_server_is_read_only_if_it_is_a_file(tmp_path: Path) -> None:
    """No file, a folder, a device, a name that cannot be one and an unknown user's home are errors."""
    (tmp_path / "m.zip").write_bytes(b"x")
    assert read_model_file(str(tmp_path / "m.zip")) == b"x"
    for path in (str(tmp_path / "none.zip"), str(tmp_path), "/dev/zero", "a\0b", "~nobody-of-that-name/m.zip"):
        with pytest.raises(BundleError, match="cannot be read"):
            read_model_file(path)
