"""Promises of `poise app`: what cannot work is said before a server is started."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from poise.cli import app


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["--model", "nowhere.zip"], "There is nothing at nowhere.zip", 1),
        (["--study", "nowhere"], "There is nothing at nowhere", 1),
        (["--theme", "pink"], "There is no theme 'pink'", 2),
        (["--host", "192.0.2.77"], "cannot listen at 192.0.2.77", 1),
        (["--port", "65536"], "--port", 2),
        (["--max-upload", "0"], "--max-upload", 2),
    ],
)
def test_what_cannot_work_is_refused(
    arguments: list[str], message: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that is not there, an unknown theme, an address of another machine and absurd numbers."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["app", *arguments])
    assert done.exit_code == code
    assert message in " ".join(done.stderr.split())


def test_whoever_opens_the_app_to_others_is_told_what_that_means(monkeypatch: pytest.MonkeyPatch) -> None:
    """No password is asked for, paths are not taken from visitors, and pickles are named for what they are."""
    from contextlib import contextmanager

    seen = {}

    class Ready:
        url = "http://here"

        def wait(self) -> None:
            """As if it was ended at once."""

    @contextmanager
    def running(settings: object, **options: object) -> object:
        seen.update(settings=settings, **options)
        yield Ready()

    monkeypatch.setattr("poise.app.server.running", running)
    done = CliRunner().invoke(app, ["app", "--host", "0.0.0.0", "--port", "0", "--trust-pickle"])
    assert done.exit_code == 0
    assert "asks for no password" in done.stderr
    assert "runs whatever program is in them" in done.stderr
    assert not seen["settings"].allow_paths
    assert seen["settings"].trust_pickle
    CliRunner().invoke(app, ["app", "--host", "0.0.0.0", "--port", "0", "--paths"])
    assert seen["settings"].allow_paths
    CliRunner().invoke(app, ["app", "--port", "0"])
    assert seen["settings"].allow_paths
    assert not seen["settings"].trust_pickle
    assert seen["host"] == "127.0.0.1"
