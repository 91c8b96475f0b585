"""The predicted level and the probability of each, in their order, as HTML."""

from __future__ import annotations

from markupsafe import Markup

from poise.app.colours import level_colours
from poise.heads.report.wording import LONGEST_NAME, share, show
from poise.serve.prediction import Prediction


def draw_levels(prediction: Prediction, *, promised: float | None = None) -> Markup:
    """What the model says: its level in large letters, and a bar for each level, lowest first.

    Parameters
    ----------
    prediction : Prediction
    promised : float, optional
        How often the levels that are left possible hold the true one, as the model's training found.

    Returns
    -------
    Markup
        Everything foreign in it is escaped.
    """
    colours = level_colours(len(prediction.proba))
    rows = [
        _row(name, part, colour, prediction)
        for (name, part), colour in zip(prediction.proba.items(), colours, strict=True)
    ]
    return Markup('<section class="levels{}" aria-label="Prediction">{}<dl>{}</dl>{}</section>').format(
        " unused" if prediction.abstains else "",
        _head(prediction),
        Markup("").join(rows),
        _likely(prediction, promised),
    )


def _head(prediction: Prediction) -> Markup:
    label = show(prediction.label, LONGEST_NAME)
    if prediction.abstains:
        return Markup(
            '<p class="kicker">Level</p><p class="level none">No level</p>'
            '<p class="beside">What the head gives all the same, <b>not to be used</b>; its best guess is {}:</p>'
        ).format(label)
    return Markup('<p class="kicker">Level</p><p class="level">{}</p>').format(label)


def _row(name: str, part: float, colour: str, prediction: Prediction) -> Markup:
    likely = prediction.likely or ()
    kind = " chosen" if name == prediction.label and not prediction.abstains else ""
    kind += " likely" if len(likely) > 1 and name in likely else ""
    return Markup(
        '<div class="row{}"><dt>{}</dt><dd><span class="rail"><span class="bar" style="width:{}%;background:{}">'
        '</span></span><span class="share">{}</span></dd></div>'
    ).format(kind, show(name, LONGEST_NAME), f"{100 * part:.2f}", colour, share(part))


def _likely(prediction: Prediction, promised: float | None) -> Markup:
    likely = prediction.likely
    if likely is None:
        return Markup('<p class="beside">How sure this is could not be calibrated.</p>')
    if prediction.abstains:
        return Markup("")
    names = [show(name, LONGEST_NAME) for name in likely]
    words = " or ".join(names) if len(names) < 3 else f"{names[0]} to {names[-1]}"
    often = f" Such a statement holds for {share(promised)} of recordings of new speakers." if promised else ""
    return Markup('<p class="beside">{} <b>{}</b>.{}</p>').format(
        "Left possible: only" if len(names) == 1 else "Left possible:", words, often
    )
