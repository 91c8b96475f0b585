"""The timeline under the player: which seconds counted how much, and for which level each of them spoke.

HTML alone; the player is found and followed by ``assets/drawing.js``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from poise.app.colours import level_colours
from poise.heads.report.canvas import find_ticks
from poise.heads.report.wording import LONGEST_NAME, count, share, show
from poise.serve.prediction import ClipPrediction, Prediction

MAX_COLUMNS = 300
"""More clips than that are drawn several to a column."""

_NEAR = 1e-6
_MINUTES_FROM_S = 90.0
_STEPS_S = (30, 60, 120, 300, 600, 1200, 1800, 3600)
_MOST_TICKS = 6
_CLIP_WORDS = {
    "blank": "picture of one colour",
    "clipped": "sound clipped",
    "dark": "very dark",
    "frozen": "picture stands still",
    "mostly-silent": "hardly any sound",
    "quiet": "very quiet",
    "unfamiliar-picture": "picture unlike the training recordings",
    "unfamiliar-sound": "sound unlike the training recordings",
}


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the timeline: a clip, or several where there are many.

    Attributes
    ----------
    start_s, end_s : float
        What is played when it is clicked, seconds.
    until_s : float
        Where the column ends: before the next one begins, where clips overlap.
    attention : float
        What it counts for, of 1.
    proba : dict of str to float, or None
        What its clips say alone, weighed by what they count for; None where the model does not tell.
    flags : tuple of str
        What is unusual about it.
    n_clips : int
    """

    start_s: float
    end_s: float
    until_s: float
    attention: float
    proba: dict[str, float] | None
    flags: tuple[str, ...]
    n_clips: int


def make_columns(clips: Sequence[ClipPrediction], *, most: int = MAX_COLUMNS) -> list[Column]:
    """Columns of clips in order of time.

    Parameters
    ----------
    clips : sequence of ClipPrediction
    most : int
        Columns that there may be.
    """
    size = -(-len(clips) // most) if clips else 1
    numbered = sorted(clips, key=lambda clip: (clip.start_s, clip.end_s))
    groups = [numbered[first : first + size] for first in range(0, len(numbered), size)]
    starts = [group[0].start_s for group in groups] + [float("inf")]
    return [_merge(group, starts[number + 1]) for number, group in enumerate(groups)]


def _merge(clips: Sequence[ClipPrediction], next_s: float) -> Column:
    total = sum(clip.attention for clip in clips)
    end_s = max(clip.end_s for clip in clips)
    proba: dict[str, float] | None = None
    if all(clip.proba is not None for clip in clips):
        proba = {}
        for clip in clips:
            part = clip.attention / total if total > _NEAR else 1 / len(clips)
            for name, value in (clip.proba or {}).items():
                proba[name] = proba.get(name, 0.0) + part * value
    flags = tuple(sorted({flag for clip in clips for flag in clip.flags}))
    return Column(
        start_s=clips[0].start_s,
        end_s=end_s,
        until_s=max(min(end_s, next_s), clips[0].start_s),
        attention=total,
        proba=proba,
        flags=flags,
        n_clips=len(clips),
    )


def is_even(clips: Sequence[ClipPrediction]) -> bool:
    """Whether every clip counts the same, as where the pooling learns nothing."""
    return len({round(clip.attention, 9) for clip in clips}) <= 1


def describe(column: Column) -> str:
    """A column in words.

    Parameters
    ----------
    column : Column
    """
    parts = [f"{column.start_s:.4g} to {column.end_s:.4g} s", f"counts for {share(column.attention)}"]
    if column.n_clips > 1:
        parts.insert(1, count(column.n_clips, "clip"))
    if column.proba:
        alone = [f"{show(name, LONGEST_NAME)} {share(part)}" for name, part in _highest_first(column.proba)]
        parts.append(f"alone it says {', '.join(alone[:3])}")
    parts += [_CLIP_WORDS.get(flag, flag) for flag in column.flags]
    return " · ".join(parts)


def draw_timeline(prediction: Prediction) -> Markup:
    """The timeline as HTML, from the first second to the last.

    Parameters
    ----------
    prediction : Prediction

    Returns
    -------
    Markup
        Everything foreign in it is escaped.
    """
    columns = make_columns(prediction.clips)
    ends = [column.end_s for column in columns]
    length_s = max([*ends, prediction.duration_s if prediction.duration_s > 0 else 0.0, 1e-3])
    top = max([column.attention for column in columns], default=1.0) or 1.0
    colours = dict(zip(prediction.proba, level_colours(len(prediction.proba)), strict=True))
    even = Markup("") if is_even(prediction.clips) else _even_line(1 / max(len(columns), 1) / top)
    return Markup(
        '<figure class="timeline" data-length="{length}">'
        "<figcaption><strong>Which seconds spoke for which level</strong> {legend}</figcaption>"
        '<div class="plot" role="group" aria-label="Clips of the recording, in order of time">{even}{columns}'
        '<div class="playhead" hidden></div></div><div class="axis" aria-hidden="true">{ticks}</div>'
        '<p class="told" aria-live="polite">{hint}</p></figure>'
    ).format(
        length=f"{length_s:.3f}",
        legend=_legend(colours, with_colours=any(column.proba for column in columns)),
        even=even,
        columns=Markup("").join(_draw(column, length_s, top, colours) for column in columns),
        ticks=Markup("").join(
            Markup('<span style="left:{}%">{}</span>').format(f"{100 * tick / length_s:.2f}", _clock(tick, length_s))
            for tick in _find_ticks(length_s)
        ),
        hint=_hint(prediction),
    )


def _draw(column: Column, length_s: float, top: float, colours: dict[str, str]) -> Markup:
    words = describe(column)
    parts = column.proba or {}
    first = max(parts, key=parts.__getitem__, default="")
    stack = Markup("").join(
        Markup('<i style="flex-grow:{};background:{}">{}</i>').format(
            f"{parts[name]:.4f}", colours[name], _label(name) if name == first else ""
        )
        for name in reversed(colours)  # the highest level on top
        if parts.get(name, 0.0) > 0
    )
    return Markup(
        '<button type="button" class="clip" data-start="{start}" data-end="{end}" data-words="{words}" '
        'aria-label="Play {words}" style="left:{left}%;width:{width}%">'
        '<span class="column{plain}" style="height:{height}%">{stack}</span>{mark}</button>'
    ).format(
        start=f"{column.start_s:.3f}",
        end=f"{column.end_s:.3f}",
        words=words,
        left=f"{100 * column.start_s / length_s:.3f}",
        width=f"{100 * (column.until_s - column.start_s) / length_s:.3f}",
        plain="" if parts else " plain",
        height=f"{100 * column.attention / top:.2f}",
        stack=stack,
        mark=Markup('<span class="mark" aria-hidden="true">!</span>') if column.flags else "",
    )


def _label(name: str) -> Markup:
    """Shown where the column has room for it."""
    return Markup('<span class="says" aria-hidden="true">{}</span>').format(show(name, LONGEST_NAME))


def _even_line(height: float) -> Markup:
    return Markup(
        '<div class="even" style="bottom:{}%" title="what each would count for if all counted the same"></div>'
    ).format(f"{100 * min(height, 1.0):.2f}")


def _legend(colours: dict[str, str], *, with_colours: bool) -> Markup:
    if not with_colours:
        return Markup("")
    return Markup("").join(
        Markup('<span class="key"><i style="background:{}"></i>{}</span>').format(colour, show(name, LONGEST_NAME))
        for name, colour in colours.items()
    )


def _hint(prediction: Prediction) -> str:
    said = "" if any(clip.proba for clip in prediction.clips) else " This model does not tell what a clip says alone."
    if is_even(prediction.clips):
        return f"This model lets all clips count the same.{said} Click one to play it."
    return f"The higher, the more it counted; the dashed line is an even share.{said} Click a clip to play it."


def _find_ticks(length_s: float) -> list[float]:
    """Round times on the axis, a handful."""
    if length_s < _MINUTES_FROM_S:
        return find_ticks(0, length_s)
    step = next((step for step in _STEPS_S if length_s / step <= _MOST_TICKS), length_s)
    return [step * number for number in range(int(length_s / step) + 1)]


def _clock(time_s: float, length_s: float) -> str:
    if length_s < _MINUTES_FROM_S:
        return f"{time_s:.4g} s"
    minutes, seconds = divmod(round(time_s), 60)
    return f"{minutes}:{seconds:02d}"


def _highest_first(proba: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(proba.items(), key=lambda item: -item[1])
