"""The app's server: Streamlit in a process of its own, in a private folder, that ends when whoever started it does."""

from __future__ import annotations

import ipaddress
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from poise.app.scratch import scratch_folder
from poise.app.settings import AppSettings
from poise.app.theme import Theme, theme_options
from poise.app.uploads import MAX_MODEL_MB
from poise.errors import AppError, MissingDependencyError
from poise.orphans import die_with_parent

MIN_STREAMLIT = (1, 67)
SCRIPT = Path(__file__).parent / "script" / "main.py"

_START_S = 300.0
_END_S = 5.0
_LOOK_S = 0.2
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def check_streamlit() -> None:
    """Refuse to go on without the extra ``app``.

    Raises
    ------
    MissingDependencyError
        Streamlit is not installed, or is too old.
    """
    from importlib.metadata import PackageNotFoundError, version

    wanted = ".".join(map(str, MIN_STREAMLIT))
    try:
        found = version("streamlit")
    except PackageNotFoundError as error:
        raise MissingDependencyError(
            "The app needs Streamlit, which is not installed. Install it with `pip install 'poise[app]'`."
        ) from error
    if tuple(int(part) for part in found.split(".")[:2]) < MIN_STREAMLIT:
        raise MissingDependencyError(
            f"The app needs Streamlit {wanted} or newer, and {found} is installed. "
            "Install it with `pip install --upgrade 'poise[app]'`."
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def find_port(host: str, port: int) -> int:
    """A port that can be listened at: the one that was asked for, or a free one for 0.

    Raises
    ------
    AppError
        It is taken, or the host is not of this machine.
    """
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, number) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
            return int(tried.getsockname()[1])
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise AppError(
            f"The app cannot listen at {host}, port {port}: {reason}. Give another --port, 0 for any that is free, or "
            "another --host."
        ) from error


def show_url(host: str, port: int) -> str:
    """Where the app is found; a server that listens everywhere is named by this machine's own loopback."""
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  compared, not listened at
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


@contextmanager
def running(settings: AppSettings, *, host: str, port: int, theme: Theme = "dark") -> Iterator[Server]:
    """A server that answers, until the end of the block.

    Parameters
    ----------
    settings : AppSettings
        What the pages are told.
    host : str
        Where it listens.
    port : int
        One that is free.
    theme : {"dark", "light", "system"}

    Yields
    ------
    Server

    Raises
    ------
    AppError
        It does not start.
    """
    with scratch_folder() as folder:
        process = subprocess.Popen(  # noqa: S603  our own program
            [
                sys.executable,
                "-c",
                _PROGRAM.format(path=sys.path),
                "run",
                str(SCRIPT),
                *_options(settings, host, port, theme),
            ],
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno() if _has_number(sys.stderr) else None,
            env=_environment(settings, host, folder),
            preexec_fn=die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509  one call, no locks
        )
        server = Server(process, show_url(host, port))
        try:
            server.wait_until_it_answers()
            yield server
        finally:
            server.end()


class Server:
    """A server that was started.

    Parameters
    ----------
    process : subprocess.Popen
    url : str
        Where it is found.
    """

    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self._process = process
        self.url = url

    def wait_until_it_answers(self, *, patience_s: float = _START_S) -> None:
        """Return once it does.

        Raises
        ------
        AppError
            It ended, or took too long.
        """
        began = time.monotonic()
        while not self._answers():
            if self._process.poll() is not None:
                raise AppError(f"The app's server ended at once, with code {self._process.returncode}: see above.")
            if time.monotonic() - began > patience_s:
                raise AppError(f"The app's server did not answer at {self.url} for {patience_s:g} s.")
            time.sleep(_LOOK_S)

    def wait(self) -> None:
        """Return when it has ended, which it does only by itself.

        Raises
        ------
        AppError
            Always: nobody asked it to.
        """
        code = self._process.wait()
        raise AppError(f"The app's server ended by itself, with code {code}: see above. Start it again.")

    def end(self) -> None:
        """End it, gently first."""
        self._process.terminate()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        try:
            with _DIRECT.open(f"{self.url}/_stcore/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError, ValueError):
            return False


# what this process can import, its server can
_PROGRAM = "import sys; sys.path[:] = {path!r}; from poise.app.launch import main; main()"


def _options(settings: AppSettings, host: str, port: int, theme: Theme) -> list[str]:
    return [
        f"--server.address={host}",
        f"--server.port={port}",
        f"--server.maxUploadSize={max(settings.max_upload_mb, MAX_MODEL_MB)}",  # the fields have limits of their own
        "--server.headless=true",
        "--server.fileWatcherType=none",
        "--server.enableXsrfProtection=true",
        "--server.enableCORS=true",
        "--browser.gatherUsageStats=false",
        "--client.showErrorDetails=none",
        "--client.toolbarMode=minimal",
        "--global.developmentMode=false",
        "--logger.level=warning",
        "--logger.hideWelcomeMessage=true",
        *theme_options(theme),
    ]


def _environment(settings: AppSettings, host: str, folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STREAMLIT_")}
    # a page elsewhere that gives its own name our address must not be taken for ours
    own = {"STREAMLIT_SERVER_ALLOWED_HOSTS": "localhost 127.0.0.1 [::1] ::1"} if is_loopback(host) else {}
    return {**kept, **own, **settings.to_environment(), "TMPDIR": str(folder)}


def _has_number(stream: object) -> bool:
    number: Callable[[], int] | None = getattr(stream, "fileno", None)
    try:
        return number is not None and number() >= 0
    except (OSError, ValueError):
        return False
