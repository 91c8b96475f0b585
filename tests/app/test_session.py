"""Promises of sessions: what is done for a visitor ends when he has gone, and not when his line is bad for a moment."""

from types import SimpleNamespace

import pytest

from poise.app import session
from poise.app.jobs import Job
from poise.app.session import Visit, presence


def test_a_visitor_is_there_until_he_has_been_gone_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that comes back in time has not been gone; one that does not has."""
    clock, connected = [0.0], {"me"}
    runtime = SimpleNamespace(is_active_session=lambda name: name in connected)
    monkeypatch.setattr(session, "Runtime", SimpleNamespace(exists=lambda: True, instance=lambda: runtime))
    monkeypatch.setattr(session, "get_script_run_ctx", lambda **_: SimpleNamespace(session_id="me"))
    monkeypatch.setattr(session.time, "monotonic", lambda: clock[0])
    is_there = presence()
    clock[0] = 1000
    assert is_there()
    connected.clear()
    clock[0] += session.AWAY_S / 2
    assert is_there()
    connected.add("me")
    assert is_there()
    connected.clear()
    clock[0] += session.AWAY_S / 2
    assert is_there()
    clock[0] += session.AWAY_S
    assert not is_there()


def test_work_without_a_browser_is_wanted() -> None:
    """Outside a server nobody can go away."""
    assert presence()()


def test_closing_a_recording_cancels_what_is_done_with_it() -> None:
    """Both jobs are asked to end, and nothing of them is kept."""

    def until_cancelled(watch: object) -> None:
        while not watch.cancelled():  # type: ignore[attr-defined]
            pass

    visit = Visit(preview=Job.start(until_cancelled), predicting=Job.start(until_cancelled), begun="1", held=True)
    jobs = [visit.preview, visit.predicting]
    visit.close_recording()
    assert all(job is not None and job.wait(60) for job in jobs)
    assert visit == Visit()
