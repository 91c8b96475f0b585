"""The documents say what is true now."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from poise.store.format.segments import NAME
from poise.store.writer import MAX_RECORDINGS
from tests.media import tone, write_sound

ROOT = Path(__file__).parent.parent


def load_make_cli() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_cli", ROOT / "docs" / "make_cli.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_command_line_reference_is_up_to_date() -> None:
    """docs/cli.md is what docs/make_cli.py writes, and covers every command."""
    module = load_make_cli()
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == module.render(), "run: python docs/make_cli.py"
    assert ["store", "verify"] in module.command_names()


def test_links_in_documents_lead_somewhere() -> None:
    """Every relative link of every document names a file of the project."""
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_file_format_page_states_the_limits_of_the_code() -> None:
    """Numbers and the name of a segment in docs/file-format.md are those of the code."""
    page = (ROOT / "docs" / "file-format.md").read_text(encoding="utf-8")
    assert f"at most {MAX_RECORDINGS} recordings" in page
    assert NAME.fullmatch("seg-1795343586744-00d257d7-000000-" + "8" * 64 + ".h5")


def test_the_encoder_of_the_documents_works_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever copies it gets features."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "extraction.md").read_text(), flags=re.DOTALL)
    write_sound(tmp_path / "voice.wav", tone(4, sample_rate_hz=16_000))
    (tmp_path / "manifest.csv").write_text("path,label\nvoice.wav,0\n")
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(code, found)
    assert found["report"].counts["stored"] == 1
