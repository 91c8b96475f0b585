"""Clips are selected by their place in time, and a recording with few keeps all."""

from __future__ import annotations

import numpy as np
import pytest

from poise.heads.selection import select_clips
from poise.store.bags import ModalityBags


def clips(*spans: list[tuple[float, float]]) -> ModalityBags:
    """Recordings whose values tell their clips apart."""
    times = np.array([span for each in spans for span in each], dtype=np.float64).reshape(-1, 2)
    offsets = np.concatenate([[0], np.cumsum([len(each) for each in spans])])
    return ModalityBags(values=np.arange(len(times), dtype=np.float32)[:, None], offsets=offsets, clip_times=times)


def ten(n: int) -> list[tuple[float, float]]:
    return [(10.0 * k, 10.0 * k + 10) for k in range(n)]


@pytest.mark.parametrize(
    ("selection", "kept"),
    [
        ("all", list(range(12))),
        ("first:3", [0, 1, 2, 9, 10, 11]),
        ("first:100", list(range(12))),
        ("spread:1", [4, 10]),
        ("spread:2", [0, 8, 9, 11]),
        ("spread:5", [0, 2, 4, 6, 8, 9, 10, 11]),
        ("full:5", [0, 2, 4, 6, 8, 9, 10, 11]),
        ("longest", [0, 9]),
    ],
)
def test_clips_are_kept_by_their_place(selection, kept):
    """Nine clips and three: the ends and the middle are where they should be, in order of time."""
    found = select_clips(clips(ten(9), [], ten(3)), selection)
    assert found.values[:, 0].tolist() == kept
    assert found.n_clips[1] == 0
    assert found.n_clips.sum() == len(kept) == len(found.clip_times)


@pytest.mark.parametrize(
    ("n_windows", "tail_s", "kept"),
    [
        (3, 4.0, [0, 1, 2, 3]),
        (4, 4.0, [0, 1, 2, 3, 4]),
        (5, 4.0, [0, 1, 2, 3, 4]),
        (5, None, [0, 1, 2, 3, 4]),
        (6, None, [0, 1, 2, 4, 5]),
        (8, 9.9, [0, 2, 4, 5, 7]),
        (8, 9.9999, [0, 2, 4, 6, 8]),
    ],
)
def test_full_windows_go_before_a_tail(n_windows, tail_s, kept):
    """Of more than five clips five full windows are kept, spread evenly; of no more all, with the tail."""
    tail = [] if tail_s is None else [(10.0 * n_windows, 10.0 * n_windows + tail_s)]
    assert select_clips(clips([*ten(n_windows), *tail]), "full:5").values[:, 0].tolist() == kept


def test_clips_of_unknown_length_count_as_full():
    """Imported features have no times; and where few windows are full, there are fewer clips."""
    assert select_clips(clips([(np.nan, np.nan)] * 8), "full:5").values[:, 0].tolist() == [0, 2, 4, 5, 7]
    short = [(10.0 * k, 10.0 * k + 4) for k in range(1, 6)]
    assert select_clips(clips([(0.0, 10.0), *short]), "full:5").values[:, 0].tolist() == [0]


def test_the_longest_clips_are_those_that_last():
    """A short tail goes first; of two alike the earlier one stays; unknown times keep the order."""
    recording = [(0.0, 10.0), (10.0, 20.0), (20.0, 24.0), (24.0, 40.0)]
    assert select_clips(clips(recording), "longest:1").values[:, 0].tolist() == [3]
    assert select_clips(clips(recording), "longest:2").values[:, 0].tolist() == [0, 3]
    assert select_clips(clips(recording), "longest:3").values[:, 0].tolist() == [0, 1, 3]
    unknown = [(np.nan, np.nan)] * 4
    assert select_clips(clips(unknown), "longest:2").values[:, 0].tolist() == [0, 1]
