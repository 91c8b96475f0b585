"""The notebooks run from top to bottom, say what they show, and hold nothing of the machine that ran them."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SHOWN = {
    "1_pooling": ["share on the clip that tells"],
    "2_honest_validation": ["Supported:", "Leakage:", "Confounded:", "best epoch on the scored fold"],
    "3_inside_scikit_learn": ["scikit-learn: kappa", "p = 1.00", "different values in 1,000 deals"],
}
"""What a reader must find among the outputs; each notebook checks its own figures in cells that the reader sees."""

MACHINE_PATH = re.compile(r"(?<![\w.\]])/(?:home|root|tmp|var|work|usr|opt|Users|private|mnt)/|[A-Za-z]:\\\\?Users")


def _load_execute() -> ModuleType:
    spec = importlib.util.spec_from_file_location("execute", FOLDER / "execute.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _read(path: Path) -> Any:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def _outputs(notebook: Any) -> Iterator[Any]:
    for cell in notebook.cells:
        yield from cell.get("outputs", ())


def _texts(notebook: Any) -> str:
    """All that outputs say in words."""
    parts = []
    for output in _outputs(notebook):
        parts += [output.get("text", ""), *(text for kind, text in output.get("data", {}).items() if "text" in kind)]
    return "\n".join(parts)


def _check_outputs(notebook: Any, name: str) -> None:
    kinds = {output.output_type for output in _outputs(notebook)}
    assert "error" not in kinds
    warned = [output.text for output in _outputs(notebook) if output.get("name") == "stderr"]
    assert not warned
    assert any("image/png" in output.get("data", {}) for output in _outputs(notebook)), "no figure"
    missing = [text for text in SHOWN[name] if text not in _texts(notebook)]
    assert not missing


def test_there_are_three_notebooks() -> None:
    """Those that the README names, and what each must show is written down here."""
    assert [path.stem for path in NOTEBOOKS] == sorted(SHOWN)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_whole_and_clean(path: Path) -> None:
    """Valid, run in order to the end, without errors, warnings and paths of a machine; its figures are in the file."""
    notebook = _read(path)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    _check_outputs(notebook, path.stem)
    sources = "\n".join(cell.source for cell in notebook.cells)
    assert not MACHINE_PATH.search(sources + _texts(notebook))
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert path.stat().st_size < 1_000_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_opens_with_what_it_shows_and_how_long_it_takes(path: Path) -> None:
    """The first cell is a title and two sentences in plain words."""
    first = _read(path).cells[0]
    assert first.cell_type == "markdown"
    assert re.match(r"# \d · ", first.source)
    assert re.search(r"takes about \w+ minutes? on a laptop", first.source)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_checks_what_it_claims(path: Path) -> None:
    """Every notebook has cells that stop it where a claim does not hold."""
    checks = [
        cell.source for cell in _read(path).cells if cell.cell_type == "code" and "\nassert " in "\n" + cell.source
    ]
    assert len(checks) >= 2


def test_a_path_of_a_machine_is_found() -> None:
    """What the check above looks for is not overlooked, and links between documents are no such path."""
    found = ["/home/ann/poise", "in '/tmp/poise-x/s01.mp4'", "(/Users/bo/x.py:3)", "C:\\Users\\bo"]
    assert all(MACHINE_PATH.search(text) for text in found)
    assert not MACHINE_PATH.search("[reproduction](../docs/reproduction.md), mean/early/ridge, and/or")


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run afresh in an empty folder, its own checks hold, it shows what it must, and it leaves nothing behind."""
    pytest.importorskip("nbclient")
    monkeypatch.setenv("MPLBACKEND", "Agg")  # as importing Streamlit does
    notebook = _load_execute().run_notebook(path, tmp_path)
    _check_outputs(notebook, path.stem)
    assert not list(tmp_path.iterdir())
