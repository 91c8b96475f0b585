"""What the server's process runs: Streamlit, which asks nobody anything."""

from __future__ import annotations

from contextlib import suppress


def main() -> None:
    """Do what the command ``streamlit`` does with the process's arguments.

    For a page of another origin Streamlit asks a service which address this machine has, and meanwhile serves nobody.
    """
    with suppress(ImportError):  # a Streamlit that has it no more
        from streamlit import net_util

        setattr(net_util, "get_external_ip", _know_nothing)  # noqa: B010
    from streamlit.web.cli import main as run

    run(prog_name="streamlit")


def _know_nothing() -> None:
    return None
