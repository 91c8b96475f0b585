"""Clips that are encoded side by side."""

import threading
import time

import numpy as np
import pytest
import torch

from poise.errors import EncoderError
from poise.extract.encoders.base import AudioEncoder, PreparedClip
from poise.extract.encoding import Batcher
from poise.extract.lanes import Lanes, count_lanes


def clip(number, n_samples=8):
    return PreparedClip(
        start_s=number, end_s=number + 1, data=np.full(n_samples, number, np.float32), times_s=np.empty(0)
    )


class Uneven(AudioEncoder):
    """The first sample; even clips take longer."""

    name, dim, batch_size, side_by_side = "uneven", 1, 1, True

    def __init__(self):
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    def settings(self):
        return {}

    def encode(self, clips):
        with self.lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        number = int(clips[0].data[0])
        time.sleep(0.03 if number % 2 == 0 else 0.01)
        with self.lock:
            self.at_once -= 1
        if number == 13:
            raise ValueError("thirteen")
        return np.array([clips[0].data[:1]])


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("n_threads", "n_lanes"), [(1, 1), (2, 2), (4, 4), (7, 3), (16, 4), (64, 4)])
def test_lanes_share_the_threads_equally(n_threads, n_lanes):
    """There are at most four, and none is without a thread."""
    assert count_lanes(n_threads) == n_lanes
    assert n_threads // n_lanes * n_lanes > n_threads / 2


def test_clips_come_back_in_their_order(two_threads):
    """Two at a time, each as if it were alone; one that fails is told apart."""
    encoder, delivered = Uneven(), []
    with Lanes() as lanes:
        batcher = Batcher(encoder, lanes, lambda owner, clip, result: delivered.append((owner, clip.start_s, result)))
        for number in range(20):
            batcher.add(f"owner {number}", clip(number))
        batcher.flush()
    assert [owner for owner, _, _ in delivered] == [f"owner {number}" for number in range(20)]
    for number, (_, start_s, result) in enumerate(delivered):
        assert start_s == number
        if number == 13:
            assert isinstance(result, ValueError)
        else:
            assert result == np.float32([number])
    assert encoder.most_at_once == 2


def test_no_more_clips_wait_than_keep_the_lanes_busy(two_threads):
    """Memory is bounded: adding waits when as many wait as are worked on."""
    with Lanes() as lanes:
        delivered = []
        batcher = Batcher(Uneven(), lanes, lambda owner, *_: delivered.append(owner))
        for number in range(30):
            batcher.add(number, clip(1 + 2 * number % 10))
            assert number + 1 - len(delivered) <= 4
        batcher.flush()


def test_an_encoder_that_does_not_work_ends_the_run_from_a_lane(two_threads):
    """Its error is raised where clips are added, with the same words."""

    class Broken(Uneven):
        def encode(self, clips):
            time.sleep(0.1)
            raise EncoderError(f"no weights for {len(clips)} clip")

    with Lanes() as lanes:
        batcher = Batcher(Broken(), lanes, lambda *_: None)
        batcher.add(None, clip(0))
        with pytest.raises(EncoderError, match="no weights for 1 clip"):
            batcher.flush()


def test_leaving_does_not_wait_for_a_clip(two_threads):
    """What nobody waits for any more is ended between two operations; torch has its threads back."""
    stopped = threading.Event()

    def long():
        try:
            for _ in range(3_000):
                time.sleep(0.01)
        except BaseException:
            stopped.set()
            raise

    with Lanes() as lanes:
        lanes.submit(long)
        waiting = [lanes.submit(long) for _ in range(3)]
        while lanes.busy_s() < 0.05:
            time.sleep(0.01)
        began = time.monotonic()
    assert time.monotonic() - began < 2.5
    assert stopped.is_set()
    assert not any(future.done() for future in waiting)
    fresh = []
    thread = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert [torch.get_num_threads(), *fresh] == [2, 2]
