"""What the server's process runs: Streamlit, which reads no other app's settings and asks nobody anything."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from pathlib import Path

_OWN = Path(__file__).parent / "script" / ".streamlit"


def main() -> None:
    """Do what the command ``streamlit`` does with the process's arguments.

    Streamlit reads settings from the home and from where it was started: an address, a certificate or a font of
    another app. For a page of another origin it asks a service which address this machine has, and meanwhile serves
    nobody.
    """
    ours = (("config", "get_config_files", _find_own), ("net_util", "get_external_ip", _know_nothing))
    for module, name, function in ours:
        with suppress(ImportError):  # a Streamlit that has it no more
            setattr(import_module(f"streamlit.{module}"), name, function)
    from streamlit.web.cli import main as run

    run(prog_name="streamlit")


def _find_own(name: str) -> list[str]:
    return [str(_OWN / name)]


def _know_nothing() -> None:
    return None
