"""Promises of the bars: every level in its order, and no level where there is none."""

import re

from poise.app.levels import draw_levels
from tests.app.predictions import make_prediction


def test_levels_stand_in_their_order_with_their_probability() -> None:
    """The order is that of the levels, whichever is likeliest, and the predicted one is marked."""
    drawn = draw_levels(make_prediction())
    assert re.findall(r"<dt>(\w+)</dt>", drawn) == ["low", "moderate", "high"]
    assert re.findall(r"width:([\d.]+)%", drawn) == ["20.00", "70.00", "10.00"]
    assert re.findall(r'class="row chosen"><dt>(\w+)', drawn) == ["moderate"]
    assert '<p class="level">moderate</p>' in drawn


def test_what_is_left_possible_is_told() -> None:
    """One level, two and a range are told with how often that holds; without calibration that is said."""
    assert "only <b>moderate</b>" in draw_levels(make_prediction())
    two = draw_levels(make_prediction(likely=("low", "moderate")), promised=0.8)
    assert "<b>low or moderate</b>" in two
    assert "80\u00a0% of recordings of new speakers" in two
    assert two.count(" likely") == 2
    assert "<b>low to high</b>" in draw_levels(make_prediction(likely=("low", "moderate", "high")))
    assert "could not be calibrated" in draw_levels(make_prediction(likely=None))


def test_where_the_model_abstains_there_is_no_level() -> None:
    """The best guess is named as what it is, bars are faded, and none is marked."""
    drawn = draw_levels(make_prediction(because=("it is too short",), doubts=("it is too short",)))
    assert "No level" in drawn
    assert "not to be used" in drawn
    assert '<p class="level">' not in drawn
    assert "chosen" not in drawn
    assert 'class="levels unused"' in drawn
    assert "unused" not in draw_levels(make_prediction())


def test_names_of_levels_are_text() -> None:
    """Markup in the name of a level is shown."""
    name = "<script>alert(1)</script>"
    drawn = draw_levels(make_prediction(proba={name: 1.0}, label=name, likely=(name,)))
    assert "<script>" not in drawn
    assert drawn.count("&lt;script&gt;") == 3
