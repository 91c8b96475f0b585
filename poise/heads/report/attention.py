"""Attention examples: which seconds of a few recordings counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from poise.heads.report.canvas import WIDTH, Canvas, make_scale
from poise.heads.report.reading import AttentionClip, Prediction, Study
from poise.heads.report.section import Section
from poise.heads.report.wording import LONGEST_NAME, figure, protocol, share, show

_MOST = 6
_MOST_CLIPS = 120
_LEFT, _RIGHT, _TOP, _HEIGHT = 38, 8, 8, 66


def show_attention(study: Study) -> Section:
    """The section on attention."""
    title = "Which seconds counted"
    strategy, under = study.attention_of
    if not study.attention:
        tried = any("attention" in row["strategy"] for row in study.board["leaderboard"])
        why = (
            "This study holds no attention.csv, though a strategy in it pools by attention."
            if tried
            else "No strategy of this study pools by attention: all clips of a recording counted as their pooling says."
        )
        return Section(name="attention", title=title, absent=why)
    predicted = {one.path: one for one in reversed(study.attended)}
    chosen = choose_examples(study.attention, predicted)
    parts = {
        "strategy": strategy,
        "protocol": under,
        "test": protocol(under),
        "leads": strategy == study.leader["strategy"],
        "n_recordings": len(study.attention),
        "examples": [
            _example(path, study.attention[path], predicted.get(path), study.label_names, number)
            for number, path in enumerate(chosen)
        ],
    }
    return Section(name="attention", title=title, parts=parts)


def choose_examples(
    attention: Mapping[str, Sequence[AttentionClip]], predicted: Mapping[str, Prediction], most: int = _MOST
) -> list[str]:
    """Paths of the recordings whose weights are most uneven, those predicted right first, and as many predicted wrong.

    Parameters
    ----------
    attention : mapping of path to clips
    predicted : mapping of path to Prediction
        Of the same strategy, where it is known.
    most : int
    """

    def unevenness(path: str) -> float:
        return max(clip.weight for clip in attention[path]) * len(attention[path])

    ranked = sorted(
        (path for path in attention if len(attention[path]) > 1), key=lambda path: (-unevenness(path), path)
    )
    ranked += sorted(path for path in attention if len(attention[path]) == 1)
    wrong = [path for path in ranked if path in predicted and predicted[path].label != predicted[path].predicted]
    known = set(wrong)
    right = [path for path in ranked if path not in known and (path in predicted or not predicted)]
    if not wrong or not right:
        return (right or wrong)[:most]
    half = most // 2
    n_wrong = max(half, most - len(right))
    return [*right[: most - min(n_wrong, len(wrong))], *wrong[:n_wrong]][:most]


def _example(
    path: str, clips: Sequence[AttentionClip], one: Prediction | None, names: Sequence[str], number: int
) -> dict[str, Any]:
    top = max(clips, key=lambda clip: clip.weight)
    return {
        "path": path,
        "truth": names[one.label] if one else "",
        "predicted": names[one.predicted] if one else "",
        "right": one.label == one.predicted if one else None,
        "n_clips": len(clips),
        "even": share(1 / len(clips)),
        "most": share(top.weight),
        "seconds": f"{figure(top.start_s, 0)} to {figure(top.end_s, 0)} s",
        "cut": len(clips) > _MOST_CLIPS,
        "plot": _draw(path, clips[:_MOST_CLIPS], 1 / len(clips), f"attention-{number}"),
    }


def _draw(path: str, clips: Sequence[AttentionClip], even: float, name: str) -> Markup:
    canvas = Canvas()
    bottom = _TOP + _HEIGHT
    top = max(*(clip.weight for clip in clips), even)
    across = make_scale(0, max(clip.end_s for clip in clips), _LEFT, WIDTH - _RIGHT)
    up = make_scale(0, top * 1.05, bottom, _TOP)
    for clip in clips:
        left, right, height = across(clip.start_s), across(clip.end_s), up(clip.weight)
        canvas.bar(left + 0.5, height, right - left - 1, bottom - height, "column")
    canvas.line(_LEFT, up(even), WIDTH - _RIGHT, up(even), "zero")
    canvas.line(_LEFT, bottom, WIDTH - _RIGHT, bottom, "axis")
    canvas.text(_LEFT - 5, up(top) + 4, share(top), "t small", anchor="end")
    canvas.text(_LEFT - 5, bottom + 4, "0", "t small", anchor="end")
    for value in _find_seconds(clips):
        canvas.text(across(value), bottom + 15, figure(value, 0), "t small", anchor="middle")
    canvas.text((_LEFT + WIDTH - _RIGHT) / 2, bottom + 28, "seconds", "t small", anchor="middle")
    title = f"Weight of each clip of {show(path, LONGEST_NAME)}"
    return canvas.finish(bottom + 32, name=name, title=title, words=_words(clips, even))


def _find_seconds(clips: Sequence[AttentionClip]) -> list[float]:
    """Where the seconds are written: at the ends of clips while they are few."""
    length = max(clip.end_s for clip in clips)
    return sorted({0.0, *(clip.start_s for clip in clips), length}) if len(clips) < 9 else [0.0, length / 2, length]


def _words(clips: Sequence[AttentionClip], even: float) -> str:
    told = [f"{figure(clip.start_s, 0)} to {figure(clip.end_s, 0)} s: {share(clip.weight)}" for clip in clips[:40]]
    return f"{'; '.join(told)}. Even weights: {share(even)}."
