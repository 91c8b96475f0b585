"""Promises of jobs: one knows how far they are, and they end when nobody wants them any more."""

import threading

import pytest

from poise.app.jobs import Job, Step, Watch
from poise.errors import CancelledError

PATIENCE_S = 60


def until_cancelled(watch: Watch) -> str:
    while True:
        watch.check()
        threading.Event().wait(0.01)


def test_a_job_tells_how_far_it_is_and_gives_its_result() -> None:
    """Steps are seen from outside while it runs; the result is there once it is over."""
    told, go_on = threading.Event(), threading.Event()

    def work(watch: Watch) -> str:
        watch.tell(1, 4, "encoding")
        told.set()
        go_on.wait(PATIENCE_S)
        return "done"

    job = Job.start(work)
    assert told.wait(PATIENCE_S)
    assert job.step == Step(what="encoding", done=1, total=4)
    assert job.step.share == 0.25
    assert not job.is_over
    assert job.result is None
    go_on.set()
    assert job.wait(PATIENCE_S)
    assert (job.result, job.error) == ("done", None)
    assert job.seconds >= 0


def test_a_cancelled_job_ends_at_its_next_look() -> None:
    """There is an error that says so, and no result."""
    job = Job.start(until_cancelled)
    job.cancel()
    assert job.wait(PATIENCE_S)
    assert isinstance(job.error, CancelledError)
    assert job.result is None


def test_a_job_that_nobody_waits_for_ends() -> None:
    """When its visitor has gone, it is as if it was cancelled."""
    there = threading.Event()
    there.set()
    job = Job.start(until_cancelled, is_wanted=there.is_set)
    assert not job.wait(0.05)
    there.clear()
    assert job.wait(PATIENCE_S)
    assert isinstance(job.error, CancelledError)


def test_whatever_a_job_raises_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    """An error ends the job and not the server; one that nobody expected is in the server's log as well."""

    def fail(_watch: Watch) -> None:
        raise ZeroDivisionError("no reason")

    job = Job.start(fail)
    assert job.wait(PATIENCE_S)
    assert isinstance(job.error, ZeroDivisionError)
    assert "ZeroDivisionError: no reason" in caplog.text


def test_a_share_stays_between_nothing_and_all() -> None:
    """More done than there should be is all, and of an unknown whole nothing is known to be done."""
    assert Step(done=7, total=4).share == 1
    assert Step(done=7, total=0).share == 0
