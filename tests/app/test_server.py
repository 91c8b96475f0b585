"""Promises of the server: it listens where it was told, is not led astray, and leaves nothing behind."""

import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection
from importlib import metadata
from pathlib import Path

import pytest

from poise.app.server import Server, check_streamlit, find_port, is_loopback, running, show_url
from poise.app.settings import AppSettings
from poise.app.theme import check_theme, theme_options
from poise.errors import AppError, MissingDependencyError

PATIENCE_S = 120
FOREIGN = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Origin": "http://evil.example",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def test_the_app_asks_for_streamlit_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, or with an old Streamlit, the sentence says what to install."""

    def absent(_name: str) -> str:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "version", absent)
    with pytest.raises(MissingDependencyError, match=r"pip install 'poise\[app\]'"):
        check_streamlit()
    monkeypatch.setattr(metadata, "version", lambda _name: "1.66.2")
    with pytest.raises(MissingDependencyError, match=r"1\.67 or newer, and 1\.66\.2"):
        check_streamlit()
    monkeypatch.undo()
    check_streamlit()


@pytest.mark.parametrize(
    ("host", "alone"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("127.9.9.9", True),
        ("0.0.0.0", False),
        ("example", False),
    ],
)
def test_who_can_reach_a_server_is_known_from_its_host(host: str, alone: bool) -> None:
    """Loopback addresses are this machine's alone; a name that says nothing is not."""
    assert is_loopback(host) is alone


def test_a_port_that_is_taken_and_a_host_that_is_elsewhere_are_sentences() -> None:
    """Before anything is started; 0 gives one that is free."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(AppError, match=f"port {taken.getsockname()[1]}.*Give another --port"):
            find_port("127.0.0.1", taken.getsockname()[1])
    for host in ("192.0.2.77", "no such host", "x" * 300):
        with pytest.raises(AppError, match="cannot listen at"):
            find_port(host, 0)
    assert find_port("127.0.0.1", 0) > 0


def test_the_address_can_be_opened() -> None:
    """Addresses of version 6 stand in brackets, and a server for everybody is found here too."""
    assert show_url("127.0.0.1", 80) == "http://127.0.0.1:80"
    assert show_url("::1", 80) == show_url("::", 80) == "http://[::1]:80"
    assert show_url("0.0.0.0", 80) == "http://127.0.0.1:80"


def test_themes_are_options_of_streamlit() -> None:
    """Dark is what the configuration says; light and the visitor's own choice are given as options."""
    assert theme_options(check_theme("dark")) == []
    assert theme_options(check_theme("light"))[0] == "--theme.base=light"
    assert {option.split(".")[1] for option in theme_options(check_theme("system"))} == {"light", "dark"}
    with pytest.raises(AppError, match="no theme 'pink'"):
        check_theme("pink")


def test_a_server_that_ends_or_does_not_answer_is_a_sentence() -> None:
    """One that ends at once, one that says nothing, and one that ends later, each with what to look at."""
    nowhere = f"http://127.0.0.1:{find_port('127.0.0.1', 0)}"
    gone = Server(subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"]), nowhere)
    with pytest.raises(AppError, match="ended at once, with code 7"):
        gone.wait_until_it_answers()
    with pytest.raises(AppError, match="ended by itself, with code 7"):
        gone.wait()
    silent = Server(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]), nowhere)
    with pytest.raises(AppError, match="did not answer"):
        silent.wait_until_it_answers(patience_s=0.1)
    silent.end()


def test_a_server_that_will_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked first, and killed when it does not listen."""
    monkeypatch.setattr("poise.app.server._END_S", 0.3)
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    Server(process, "").end()
    process.stdout.close()
    assert process.returncode == -signal.SIGKILL


def test_a_running_server_answers_here_alone_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers at its port, in a folder of its own that goes with it; no setting of other Streamlits reaches it."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("STREAMLIT_SERVER_PORT", "1")
    monkeypatch.setenv("STREAMLIT_BROWSER_GATHER_USAGE_STATS", "true")
    with running(AppSettings(), host="127.0.0.1", port=find_port("127.0.0.1", 0)) as server:
        with urllib.request.urlopen(f"{server.url}/_stcore/health", timeout=PATIENCE_S) as answer:
            assert answer.read() == b"ok"
        (folder,) = tmp_path.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not list(tmp_path.iterdir())


@contextmanager
def counting() -> Iterator[tuple[str, list[object]]]:
    """A proxy that notes who connects, and hangs up."""
    seen: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def note() -> None:
            with suppress(OSError):
                while True:
                    connection, address = listener.accept()
                    seen.append(address)
                    connection.close()

        threading.Thread(target=note, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", seen
        listener.shutdown(socket.SHUT_RDWR)


def test_a_page_of_another_origin_is_refused_without_asking_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its socket is answered with 403 at once; the server connects to nothing to find out what it is called."""
    with counting() as (proxy, seen):
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("https_proxy", proxy)
        with (
            running(AppSettings(), host="127.0.0.1", port=find_port("127.0.0.1", 0)) as server,
            closing(HTTPConnection(server.url.removeprefix("http://"), timeout=PATIENCE_S)) as connection,
        ):
            connection.request("GET", "/_stcore/stream", headers=FOREIGN)
            assert connection.getresponse().status == 403
        assert not seen


@pytest.mark.parametrize("place", ["home", "here"])
def test_settings_of_another_app_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """An address, a certificate and a theme in the home, or where the server is started, change nothing."""
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "config.toml").write_text(
        '[server]\nbaseUrlPath = "foo"\nsslCertFile = "/no/such.pem"\n[theme]\nbase = "/no/such.toml"\n'
    )
    if place == "home":
        monkeypatch.setenv("HOME", str(tmp_path))
    else:
        monkeypatch.chdir(tmp_path)
    with (
        running(AppSettings(), host="127.0.0.1", port=find_port("127.0.0.1", 0), theme="light") as server,
        urllib.request.urlopen(f"{server.url}/_stcore/health", timeout=PATIENCE_S) as answer,
    ):
        assert answer.read() == b"ok"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_command_tells_where_it_is_and_ends_with_its_server(tmp_path: Path, number: int, code: int) -> None:
    """`poise app` prints one line when it is ready; a signal ends it and its server and removes its folder."""
    command = [sys.executable, "-c", "from poise.cli import main; main()", "app", "--port", "0"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    with process.stdout as said:
        line = said.readline()
        assert line.startswith("The app is at http://127.0.0.1:")
        url = line.split()[4]
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == code
    assert not list(tmp_path.iterdir())
    host, _, port = url.removeprefix("http://").partition(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=PATIENCE_S)
