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
_MOST_TOLD = 40
_LEFT, _RIGHT, _TOP, _HEIGHT = 38, 8, 8, 66


def show_attention(study: Study) -> Section:
    """The section on attention."""
    title = "Which seconds counted"
    strategy, under = study.attention_of
    if not study.attention:
        tried = any("attention" in row["strategy"] for row in study.board["leaderboard"])
        why = (
            "This study holds no weights of clips, though a strategy in it pools by attention."
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
    shown = clips[:_MOST_CLIPS]
    spans = find_spans(clips)
    top = max(range(len(clips)), key=lambda place: clips[place].weight)
    return {
        "path": path,
        "truth": names[one.label] if one else "",
        "predicted": names[one.predicted] if one else "",
        "right": one.label == one.predicted if one else None,
        "n_clips": len(clips),
        "even": share(1 / len(clips)),
        "most": share(clips[top].weight),
        "where": _tell(spans, top, timed=is_timed(clips)),
        "cut": len(clips) > _MOST_CLIPS,
        "plot": _draw(path, shown, 1 / len(clips), f"attention-{number}"),
    }


def is_timed(clips: Sequence[AttentionClip]) -> bool:
    """Whether it is known when every clip is."""
    return all(clip.start_s is not None for clip in clips)


def find_spans(clips: Sequence[AttentionClip]) -> list[tuple[float, float]]:
    """Seconds of each clip; its number where they are not known."""
    if not is_timed(clips):
        return [(float(number), number + 1.0) for number in range(len(clips))]
    return [(clip.start_s or 0.0, clip.end_s or 0.0) for clip in clips]


def _tell(spans: Sequence[tuple[float, float]], place: int, *, timed: bool) -> str:
    start, end = spans[place]
    return f"{figure(start, 0)} to {figure(end, 0)} s" if timed else f"clip {place + 1}"


def _draw(path: str, clips: Sequence[AttentionClip], even: float, name: str) -> Markup:
    canvas = Canvas()
    bottom = _TOP + _HEIGHT
    top = max(*(clip.weight for clip in clips), even)
    spans, timed = find_spans(clips), is_timed(clips)
    across = make_scale(min(start for start, _ in spans), max(end for _, end in spans), _LEFT, WIDTH - _RIGHT)
    up = make_scale(0, top * 1.05, bottom, _TOP)
    for (start, end), clip in zip(spans, clips, strict=True):
        canvas.bar(
            across(start) + 0.5, up(clip.weight), across(end) - across(start) - 1, bottom - up(clip.weight), "column"
        )
    canvas.line(_LEFT, up(even), WIDTH - _RIGHT, up(even), "zero")
    canvas.line(_LEFT, bottom, WIDTH - _RIGHT, bottom, "axis")
    canvas.text(_LEFT - 5, up(top) + 4, share(top), "t small", anchor="end")
    canvas.text(_LEFT - 5, bottom + 4, "0", "t small", anchor="end")
    for place, text in _label(spans, timed=timed):
        canvas.text(across(place), bottom + 15, text, "t small", anchor="middle")
    axis = "seconds" if timed else "clips in their order; their seconds are not known"
    canvas.text((_LEFT + WIDTH - _RIGHT) / 2, bottom + 28, axis, "t small", anchor="middle")
    told = [
        f"{_tell(spans, place, timed=timed)}: {share(clip.weight)}" for place, clip in enumerate(clips[:_MOST_TOLD])
    ]
    words = f"{'; '.join(told)}. Even weights: {share(even)}."
    title = f"Weight of each clip of {show(path, LONGEST_NAME)}"
    return canvas.finish(bottom + 32, name=name, title=title, words=words)


def _label(spans: Sequence[tuple[float, float]], *, timed: bool) -> list[tuple[float, str]]:
    """Places below the axis and what stands there: ends of clips in seconds, or numbers of clips."""
    few = len(spans) < 9
    if not timed:
        return [((start + end) / 2, figure(end, 0)) for start, end in (spans if few else (spans[0], spans[-1]))]
    ends = sorted({end for span in spans for end in span})
    return [(end, figure(end, 0)) for end in (ends if few else (ends[0], ends[-1]))]
