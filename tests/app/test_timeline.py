"""Promises of the timeline: every second stands where it was, as high as it counted, in the levels it spoke for."""

import re

import pytest

from poise.app.colours import level_colours
from poise.app.timeline import describe, draw_timeline, is_even, make_columns
from tests.app.predictions import make_clip, make_prediction

LOW = {"low": 0.9, "moderate": 0.1, "high": 0.0}
HIGH = {"low": 0.0, "moderate": 0.25, "high": 0.75}


def test_a_clip_stands_where_it_was_and_as_high_as_it_counted() -> None:
    """Left and width are shares of the recording's length, heights are relative to the clip that counted most."""
    drawn = draw_timeline(make_prediction(make_clip(0, 0.2, LOW), make_clip(5, 0.8, HIGH), duration_s=20.0))
    places = re.findall(r'data-start="([\d.]+)" data-end="([\d.]+)".*?left:([\d.]+)%;width:([\d.]+)%', drawn)
    assert [tuple(map(float, place)) for place in places] == [(0, 5, 0, 25), (5, 10, 25, 25)]
    assert re.findall(r'class="column" style="height:([\d.]+)%', drawn) == ["25.00", "100.00"]
    assert 'data-length="20.000"' in drawn
    assert re.findall(r'class="even" style="bottom:([\d.]+)%', drawn) == ["62.50"]


def test_the_levels_of_a_clip_are_stacked_with_the_highest_on_top() -> None:
    """Each part is as large as its probability and has its level's colour; a level without any has no part."""
    drawn = draw_timeline(make_prediction(make_clip(0, 1.0, HIGH)))
    _, moderate, high = level_colours(3)
    parts = re.findall(r'<i style="flex-grow:([\d.]+);background:([^"]+)">', drawn)
    assert parts == [("0.7500", high), ("0.2500", moderate)]
    assert drawn.count('class="says"') == 1


def test_a_clip_is_told_in_words() -> None:
    """Seconds, share, levels and what is unusual are in the name of its button, for who cannot see it."""
    (column,) = make_columns([make_clip(5, 0.34, LOW, flags=("dark", "odd"))])
    says = "alone it says low 90\u00a0%, moderate 10\u00a0%, high 0\u00a0%"
    words = f"5 to 10 s · counts for 34\u00a0% · {says} · very dark · odd"
    assert describe(column) == words
    drawn = draw_timeline(make_prediction(make_clip(5, 0.34, LOW, flags=("dark", "odd"))))
    assert f'aria-label="Play {words}"' in drawn
    assert 'class="mark"' in drawn


def test_a_model_that_lets_all_count_the_same_is_told_so() -> None:
    """No line for an even share is drawn where every share is even."""
    even = make_prediction(make_clip(0, 0.5, LOW), make_clip(5, 0.5, HIGH))
    assert is_even(even.clips)
    assert "lets all clips count the same" in draw_timeline(even)
    assert 'class="even"' not in draw_timeline(even)


def test_a_model_that_does_not_tell_what_clips_say_has_no_colours() -> None:
    """Columns are plain, there is no legend, and the reader is told why."""
    drawn = draw_timeline(make_prediction(make_clip(0, 0.4), make_clip(5, 0.6)))
    assert drawn.count('class="column plain"') == 2
    assert 'class="key"' not in drawn
    assert "does not tell what a clip says alone" in drawn


def test_names_of_levels_are_text() -> None:
    """Markup in the name of a level is shown, wherever it stands."""
    name = '"><img src=x onerror=alert(1)>'
    drawn = draw_timeline(make_prediction(make_clip(0, 1.0, {name: 1.0}), proba={name: 1.0}, label=name))
    assert "<img" not in drawn
    assert drawn.count("&lt;img src=x") == 4


def test_many_clips_are_drawn_several_to_a_column() -> None:
    """Columns add up what their clips count for, and weigh what these say by it."""
    clips = [make_clip(5.0 * i, 0.5 if i == 0 else 0.5 / 6, LOW if i else HIGH) for i in range(7)]
    columns = make_columns(clips, most=3)
    assert [(column.start_s, column.end_s, column.n_clips) for column in columns] == [
        (0, 15, 3),
        (15, 30, 3),
        (30, 35, 1),
    ]
    assert sum(column.attention for column in columns) == pytest.approx(1)
    assert columns[0].proba == pytest.approx({"low": 0.225, "moderate": 0.2125, "high": 0.5625})
    assert "3 clips" in describe(columns[0])


def test_clips_that_overlap_stand_side_by_side() -> None:
    """A column ends where the next begins, and its clip is played to its own end."""
    first, second = make_columns([make_clip(2.5, 0.5), make_clip(0, 0.5)])
    assert (first.start_s, first.until_s, first.end_s) == (0, 2.5, 5)
    assert second.until_s == 7.5


@pytest.mark.parametrize("clips", [(), (make_clip(0, 0.0),)])
def test_nothing_to_draw_is_drawn(clips: tuple[object, ...]) -> None:
    """No clip, or one that counts for nothing, and a length that is not known are no error."""
    drawn = draw_timeline(make_prediction(*clips, duration_s=float("nan")))
    assert drawn.count('class="clip"') == len(clips)


def test_long_recordings_have_minutes_below_them() -> None:
    """Below a minute and a half there are seconds."""
    assert ">10 s<" in draw_timeline(make_prediction(make_clip(0, 1.0)))
    assert ">2:00<" in draw_timeline(make_prediction(make_clip(0, 1.0), duration_s=300.0))


def test_every_level_has_its_own_colour() -> None:
    """From two levels to many, and one alone."""
    for number in (1, 2, 3, 7, 40):
        assert len(set(level_colours(number))) == number
