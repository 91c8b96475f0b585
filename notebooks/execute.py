"""Run the notebooks from top to bottom and keep what they show: ``python notebooks/execute.py [NAME ...]``."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
TIMEOUT_S = 1200
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def run_notebook(path: Path, folder: str | Path) -> nbformat.NotebookNode:
    """The notebook with the outputs of a fresh run.

    Parameters
    ----------
    path : Path
        An .ipynb file, which is only read.
    folder : path
        Working directory of the run.

    Returns
    -------
    NotebookNode

    Raises
    ------
    CellExecutionError
        A cell raised an error.
    """
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(
        notebook, timeout=TIMEOUT_S, kernel_name="python3", resources=resources, record_timing=False
    )
    # figures are shown in the notebook whatever backend the surroundings ask for
    client.execute(env={name: value for name, value in os.environ.items() if name != "MPLBACKEND"})
    # versions and names of this machine's Python are nobody's business
    notebook.metadata = nbformat.from_dict(METADATA)
    return notebook


def main(names: list[str]) -> None:
    """Run the named notebooks, or all, in place."""
    for path in sorted(HERE.glob("*.ipynb")):
        if not names or path.stem in names or path.name in names:
            with tempfile.TemporaryDirectory() as folder:
                nbformat.write(run_notebook(path, folder), path)


if __name__ == "__main__":
    main(sys.argv[1:])
