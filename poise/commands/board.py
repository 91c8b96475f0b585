"""How fits are counted and leaderboards drawn, by every command that validates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from poise.commands.terminal import console, print_table

if TYPE_CHECKING:
    from poise.heads import Comparison
    from poise.heads.leaderboard import LeaderboardRow


@contextmanager
def fit_bar() -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar on stderr for fits."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("fitting"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def advance(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total, description=what)

        yield advance


def draw_leaderboard(found: Comparison) -> None:
    """One table for each protocol on stdout, and what its columns mean."""
    columns = ["strategy", ">qwk", ">95 % interval", ">accuracy", ">balanced?", ">MAE", ">qwk by fold?", ">seconds?"]
    people = found.manifest.speakers
    for protocol in found.folds:
        rows = [row for row in found.rows if row.protocol == protocol]
        counted = f", {len(set(people[found.scored_rows].tolist()))} speakers" if people is not None else ""
        title = f"{protocol}: {rows[0].n} recordings{counted}, scored: {rows[0].scored}"
        print_table(columns, [_cells(row) for row in rows], title=title)
    console().print(
        "In brackets: baselines, to be beaten. qwk: quadratic kappa, 1 perfect, 0 chance; interval: bootstrap\n"
        f"over {found.cluster}s. balanced: mean accuracy of the levels. MAE: mean error in levels. by fold: mean ± sd."
    )


def draw_differences(found: Comparison) -> None:
    """The leader of the hardest protocol against the others, where there is one, in plain lines on stdout."""
    protocol = found.hardest
    pairs = [pair for pair in found.differences if pair["protocol"] == protocol]
    if not pairs:
        return
    screen = console()
    tried = f"p corrected for the {pairs[0]['n_compared']} compared, the ridge baseline among them"
    screen.print(f"\n{pairs[0]['a']} against the others under {protocol}, quadratic kappa; {tried}:")
    for pair in pairs:
        ends = f" ({pair['interval'][0]:+.2f} to {pair['interval'][1]:+.2f})" if pair["interval"] else ""
        told = str(pair.get("reason", ""))
        if pair["p_corrected"] is not None:
            told = f"p = {pair['p_corrected']:.3f}"
        gap = "–" if pair["difference"] is None else f"{pair['difference']:+.2f}"
        screen.print(f"  {gap}{ends} to {pair['b']}; {told}")


def _cells(row: LeaderboardRow) -> list[str]:
    values, ends = row.metrics.values, row.interval.values["qwk"]
    mean, spread = row.fold_mean.values["qwk"], row.fold_std.values["qwk"]
    return [
        f"[{row.strategy}]" if row.baseline else row.strategy,
        figure(values["qwk"]),
        f"{ends[0]:.2f} to {ends[1]:.2f}" if ends else "–",
        figure(values["accuracy"]),
        figure(values["balanced_accuracy"]),
        figure(values["mae"]),
        f"{figure(mean)} ± {figure(spread)}" if mean is not None else "–",
        f"{row.seconds:.1f}",
    ]


def figure(value: float | None) -> str:
    """Two digits, or a dash where the metric is undefined."""
    return "–" if value is None else f"{value:.2f}"
