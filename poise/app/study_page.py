"""The page "Study": what ``poise compare`` found, from the verdict to single folds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from poise.app.drawing import draw
from poise.app.folds import FoldFigures, read_folds
from poise.app.plots import draw_facts, draw_plot
from poise.app.session import Visit, settings, this_visit
from poise.app.wording import plain, tell
from poise.errors import PoiseError
from poise.heads.report.confusion import show_confusion
from poise.heads.report.ladder import show_ladder
from poise.heads.report.page import render_report
from poise.heads.report.reading import Study, read_study
from poise.heads.report.verdict import show_verdict
from poise.heads.report.wording import figure, protocol, span

_VIEWS = ("Ladder", "Leaderboard", "Folds", "Confusion")
_TWO_DIGITS = ("kappa", "accuracy", "balanced", "error in levels")
_MOST_FOLDS = 500


def show_study_page() -> None:
    """Show the page."""
    visit = this_visit()
    st.title("Can these figures be believed?")
    st.caption("Open the folder that `poise compare --out` wrote: every strategy, every test, and what the audit says.")
    _ask_folder(visit)
    study = visit.study
    if study is None:
        return
    _show_verdict(study)
    view = st.segmented_control("View", _VIEWS, default=_VIEWS[0], key="view", label_visibility="collapsed")
    views: Mapping[str, Callable[[Study], None]] = dict(
        zip(_VIEWS, (_show_ladder, _show_board, _show_folds, _show_confusion), strict=True)
    )
    views[view or _VIEWS[0]](study)
    st.download_button(
        "Download the whole report",
        lambda: render_report(study),
        file_name="report.html",
        mime="text/html",
        icon=":material/download:",
        on_click="ignore",
    )


def _ask_folder(visit: Visit) -> None:
    first = settings().study
    if not settings().allow_paths:
        if not first:
            st.info("This server was started without a study.", icon=":material/info:")
        elif visit.study is None:
            _open(visit, first)
        return
    with st.form("study", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        folder = st.text_input("Study folder on the server", value=first, placeholder="/data/study", key="study-path")
        asked = st.form_submit_button("Open", type="primary", icon=":material/folder_open:")
    if asked and not folder.strip():
        st.error("No folder was given. Type where the study is, as /data/study.", icon=":material/error:")
    elif asked or (first and visit.study is None and not visit.tried_study):
        visit.tried_study = True
        _open(visit, folder.strip() or first)


def _open(visit: Visit, folder: str) -> None:
    try:
        with st.spinner("Reading the study"):
            visit.study = read_study(Path(folder).expanduser())
    except (PoiseError, OSError, ValueError, RuntimeError) as error:
        visit.study = None
        st.error(plain(tell(error, {})), icon=":material/error:")


def _show_verdict(study: Study) -> None:
    parts = show_verdict(study).parts
    ruling = parts["ruling"]
    show = {"good": st.success, "bad": st.error}.get(ruling.kind if ruling else "open", st.warning)
    if ruling is None:
        show(f"**No verdict**: {plain(parts['why'])}.", icon=":material/help:")
    else:
        said = f"**{plain(ruling.heading or parts['verdict'])}**\n\n{plain(parts['sentence'])}"
        show(f"{said}\n\n{plain(ruling.advice)}", icon=":material/gavel:")
    draw(draw_facts(parts["facts"]), key="facts")
    for warning in parts["warnings"]:
        st.caption(plain(f"Take care: {warning}"))


def _show_ladder(study: Study) -> None:
    section = show_ladder(study)
    if section.absent:
        st.info(plain(section.absent))
        return
    parts = section.parts
    st.markdown(
        "**The honesty ladder.** The same strategy in ever harder tests. Read it from top to bottom: a value that "
        "falls shows how much of the easy figure came from recognising people or copies."
    )
    for column, name in zip(st.columns(2), ("kappa", "accuracy"), strict=True):
        with column:
            draw(draw_plot(parts[name]), key=f"ladder-{name}")
    alone = parts["alone"]
    rows = [
        {
            "test": row["test"],
            "protocol": row["protocol"],
            "scored": row["scored"],
            "recordings": row["n"],
            "kappa": row["qwk"],
            "95 % interval": row["interval"],
            **({f"{alone} alone": row["alone"]} if alone else {}),
            "right": row["accuracy"],
            "always the most frequent level": row["majority"],
        }
        for row in parts["rows"]
    ]
    st.dataframe(rows, hide_index=True, key="ladder")


def _show_board(study: Study) -> None:
    name = _choose_protocol(study, "board")
    rows = [row for row in study.board["leaderboard"] if row["protocol"] == name]
    st.markdown(
        "In brackets: baselines, simple on purpose; a strategy that does not beat them has learnt nothing of use. "
        f"Intervals come from drawing {plain(study.board['interval_groups'])}s anew; where they overlap widely, the "
        "order is mostly luck."
    )
    _show_table([_line(row) for row in rows], key="board")


def _line(row: Mapping[str, Any]) -> dict[str, Any]:
    metrics = row["metrics"]
    return {
        "strategy": f"[{row['strategy']}]" if row["baseline"] else row["strategy"],
        "kappa": metrics.get("qwk"),
        "95 % interval": span(row["interval"].get("qwk")),
        "accuracy": metrics.get("accuracy"),
        "balanced": metrics.get("balanced_accuracy"),
        "error in levels": metrics.get("mae"),
        "kappa by fold": f"{figure(row['fold_mean'].get('qwk'))} ± {figure(row['fold_std'].get('qwk'))}",
        "recordings": row["n"],
        "scored": row["scored"],
    }


def _show_folds(study: Study) -> None:
    found = _choose_and_read(study, "folds")
    if found is None:
        return
    figures = found[0]
    st.vega_lite_chart(_fold_chart(figures), key="fold-chart")
    repeated = study.board["repeats"] > 1
    lines = [
        {
            **({"repeat": one.repeat + 1} if repeated else {}),
            "fold": one.fold + 1,
            "tested": one.tested,
            "recordings": one.n,
            "accuracy": one.accuracy,
            "kappa": one.qwk,
            "error in levels": one.mae,
        }
        for one in figures[:_MOST_FOLDS]
    ]
    _show_table(lines, key="fold-table")
    if len(figures) > _MOST_FOLDS:
        st.caption(f"{len(figures) - _MOST_FOLDS:,} more folds stand in predictions.csv of the study.")
    st.caption("Kappa is not defined in a fold where all recordings have one level, and jumps where a fold is small.")


def _show_table(lines: list[dict[str, Any]], *, key: str) -> None:
    digits = {name: st.column_config.NumberColumn(format="%.2f") for name in _TWO_DIGITS}
    # rounded as in the report: of 0.625 a browser makes 0.63
    lines = [{name: round(it, 2) if isinstance(it, float) else it for name, it in line.items()} for line in lines]
    st.dataframe(lines, hide_index=True, key=key, column_config=digits)


def _fold_chart(figures: Sequence[FoldFigures]) -> dict[str, Any]:
    rows = [
        {
            "fold": one.tested or f"fold {one.fold + 1}",
            "repeat": one.repeat + 1,
            "accuracy": one.accuracy,
            "recordings": one.n,
        }
        for one in figures[:_MOST_FOLDS]
    ]
    return {
        "data": {"values": rows},
        "mark": {"type": "circle", "size": 90},
        "encoding": {
            "x": {
                "field": "accuracy",
                "type": "quantitative",
                "title": "share predicted right",
                "scale": {"domain": [0, 1]},
            },
            "y": {"field": "fold", "type": "nominal", "title": None, "sort": None},
            "tooltip": [{"field": name, "type": "nominal"} for name in ("fold", "repeat", "accuracy", "recordings")],
        },
    }


def _show_confusion(study: Study) -> None:
    found = _choose_and_read(study, "confusion")
    if found is None:
        return
    section = show_confusion(found[1])
    if section.absent:
        st.info(plain(section.absent))
        return
    parts = section.parts
    left, right = st.columns([3, 2])
    with left:
        draw(draw_plot(parts["plot"]), key="confusion-plot")
    with right:
        st.markdown(
            "Each row is a true level, each column a prediction; framed cells are right, and the further from the "
            "diagonal, the worse the mistake. Percentages are of the row."
        )
        for words, names in (("Never predicted", parts["never"]), ("No recording is truly", parts["unseen"])):
            if names:
                st.caption(plain(f"{words}: {', '.join(names)}."))


def _choose_protocol(study: Study, key: str) -> str:
    names = study.protocols
    return st.selectbox("Test", names, format_func=lambda name: f"{name}: {protocol(name)}", key=f"protocol-{key}")


def _choose_and_read(study: Study, key: str) -> tuple[list[FoldFigures], Study] | None:
    left, right = st.columns(2)
    with left:
        name = _choose_protocol(study, key)
    strategies = list(dict.fromkeys(row["strategy"] for row in study.board["leaderboard"] if row["protocol"] == name))
    leader = study.leader["strategy"]
    with right:
        strategy = st.selectbox(
            "Strategy", strategies, index=strategies.index(leader) if leader in strategies else 0, key=f"strategy-{key}"
        )
    try:
        return read_folds(study, strategy, name)
    except PoiseError as error:
        st.error(plain(tell(error, {})), icon=":material/error:")
        return None
