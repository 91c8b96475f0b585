"""Strategies are checked, parse and print."""

from __future__ import annotations

import pytest

from poise.errors import StrategyError
from poise.heads.parameters import PARAMETERS
from poise.heads.strategy import Strategy, make_grid


@pytest.mark.parametrize(
    "text",
    [
        "mean/early/logistic",
        "attention/early/corn:hidden=128,dropout=0.3",
        "mean-std/video/lightgbm:n_trees=50,n_leaves=3,shrinkage=0.05",
        "mean/audio/softmax:lr=1e-05,class_weight=balanced",
        "mean/early/ridge:alpha=2",
    ],
)
def test_strategy_prints_what_it_was_parsed_from(text):
    """The text of a strategy is its name everywhere."""
    strategy = Strategy.parse(text)
    assert str(strategy) == text
    assert Strategy.parse(str(strategy)) == strategy


def test_settings_have_their_own_types_and_their_order_does_not_matter():
    """Equal strategies are equal and hash alike, however they were written."""
    one, other = (Strategy.parse(f"mean/early/corn:{text}") for text in ("hidden=64,lr=1", "lr=1.0,hidden=64"))
    assert one == other
    assert hash(one) == hash(other)
    assert one.params == {"hidden": 64, "lr": 1.0}
    assert isinstance(one.params["lr"], float)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mean/early", "is not a strategy. Expected pooling/fusion/head"),
        ("mean/early/corn:", "is not a strategy"),
        ("maen/early/corn", "no pooling 'maen'. Did you mean 'mean'"),
        ("mean/erly/corn", "no fusion 'erly'. Did you mean 'early'"),
        ("mean/early/logistc", "no head 'logistc'. Did you mean 'logistic'"),
        ("mean/early/xyzzy", "no head 'xyzzy'. Known: cumulative"),
        ("mean/early/corn:hiden=3", "no setting 'hiden'. Did you mean 'hidden'"),
        ("mean/early/logistic:hidden=3", "hidden is no setting of mean with logistic. It has: class_weight, clips"),
        ("mean/early/corn:attention_dim=3", "attention_dim is no setting of mean with corn"),
        ("mean/early/corn:hidden=2.5", "hidden=2.5 of a strategy: expected a whole number from 0"),
        ("mean/early/corn:dropout=1", "dropout=1 of a strategy: expected a number from 0 below 1"),
        ("mean/early/corn:lr=0", "expected a number above 0"),
        ("mean/early/corn:lr=1e30", "lr=1e30 of a strategy: expected a number above 0 to 1"),
        ("mean/early/coral:weight_decay=1e38", "expected a number from 0 to 1000"),
        ("mean/early/softmax:hidden=5000", "expected a whole number from 0 to 4096"),
        ("mean/early/softmax:epochs=100001", "expected auto or a whole number from 1 to 100000"),
        ("mean/early/softmax:n_seeds=101", "expected a whole number from 1 to 100"),
        ("mean/early/lightgbm:shrinkage=1.5", "expected a number above 0 to 1"),
        ("mean/early/ridge:alpha=1e-320", "expected auto or a number from 1e-06 to 1e.06"),
        ("mean/early/corn:lr=nan", "expected a number above 0"),
        ("mean/early/corn:lr=inf", "expected a number above 0"),
        ("mean/early/corn:class_weight=equal", "expected none or balanced"),
        ("mean/early/corn:hidden", "'hidden' is not a setting. Expected name=value"),
        ("mean/early/corn:hidden=1,hidden=2", "hidden is given twice"),
        (
            "attention/early/ridge",
            "Attention pooling does not go with the head ridge.*head softmax, coral, corn or regression",
        ),
    ],
)
def test_wrong_strategy_is_refused_with_the_way_out(text, message):
    """Every slip is named, with the nearest name that exists."""
    with pytest.raises(StrategyError, match=message):
        Strategy.parse(text)


def test_strategy_checks_settings_given_as_values_too():
    """A strategy cannot be built around its checks."""
    with pytest.raises(StrategyError, match="hidden=True"):
        Strategy(pooling="mean", fusion="early", head="corn", params={"hidden": True})
    assert Strategy(pooling="mean", fusion="early", head="corn", params={"lr": 1}).params["lr"] == 1.0


def test_every_default_is_valid():
    """Defaults pass their own checks."""
    assert all(known.check(name, known.default) == known.default for name, known in PARAMETERS.items())


def test_grid_leaves_out_what_does_not_exist_and_says_so():
    """A grid holds every combination that can be trained, once."""
    strategies, skipped = make_grid(["mean", "attention"], ["video", "early"], ["corn", "ridge", "corn:hidden=8"])
    assert len(strategies) == len(set(strategies)) == 10
    assert len(skipped) == 1
    assert "ridge" in skipped[0]


def test_grid_without_a_single_strategy_is_refused():
    """An empty grid is an error, not an empty table."""
    with pytest.raises(StrategyError, match="Attention pooling"):
        make_grid(["attention"], ["early"], ["ridge", "logistic"])
    with pytest.raises(StrategyError, match="No strategy is left"):
        make_grid(["mean"], [], ["ridge"])
    with pytest.raises(StrategyError, match="no fusion 'erly'"):
        make_grid(["mean"], ["erly"], ["ridge"])
