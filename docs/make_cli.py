"""Write docs/cli.md from the help pages: `python docs/make_cli.py`. A test checks that it is up to date."""

from pathlib import Path

import typer
from typer.testing import CliRunner

from poise.cli import app

TARGET = Path(__file__).with_name("cli.md")
HEAD = r"""# Command line

Progress and notes go to stderr, the result to stdout; `--json` prints exactly one JSON document. Exit codes:
0 done, 1 failed (`audit`: any verdict but `supported`), 2 the command line is wrong,
3 finished but some recordings failed (`extract`: more than `--max-failures`; `augment`: a copy could not be rendered; `predict`: some files, 1 if all).

This page is made from the help pages: `python docs/make_cli.py`.

## What `--json` prints

A number that is undefined is null; the reason stands beside it. Keys may be added, these stay.

| command | document |
|---|---|
| `extract` | `{"stored", "already", "partial", "failed", "outcomes": [{"path", "key", "outcome", "reason", "n_clips", "flags", "attempts"}], "seconds", "waiting_s", "n_clips_encoded", "feature_sets", "stale": [{"path", "key"}]}` |
| `augment` | `{"out", "seed", "rows", "added", "classes": [{"label", "originals", "copies_before", "copies_added", "total", "copy_share"}], "warnings", "rendered": [{"path", "file"}], "failed": [{"path", "reason"}]}` |
| `compare` | `{"leaderboard": [{"strategy", "protocol", "scored", "n", "baseline", "metrics", "interval", "fold_mean", "fold_std", "by_group", "reliability", "conformal", "seconds", "reasons"}], "comparisons": [{"protocol", "scored", "metric", "a", "b", "difference", "interval", "p", "p_corrected", "n_compared", "corrected_t"}], "audit", "learning_curve", "study", "warnings", "label_names", "interval_groups", "splits", "repeats", "seed", "settings"}`; metrics are `qwk`, `accuracy`, `balanced_accuracy`, `macro_f1`, `mae`, `spearman`, `log_loss`, `rps`, `ece` |
| `audit` | `{"verdict": "supported\|leakage\|confounded\|no evidence\|too little data", "sentence", "ladder": [{"protocol", "scored", "n", "qwk", "accuracy", "interval", "group_only", "majority", "reasons"}], "findings", "warnings", "evidence"}` |
| `report` | `{"report", "verdict", "sections": [{"name", "title", "shown", "reason"}]}` |
| `train` | `{"model", "strategy", ...}` and what `compare` prints |
| `bundle show` | `{"path", "bytes", "verdict", "feature_sets": {modality: name}, "arrays": {name: {"dtype", "shape"}}, "card"}` and all of `bundle.json`, see [bundle.md](bundle.md) |
| `bundle convert` | the same of what was written, and `"out"` |
| `predict` | `[{"path", "label", "proba": {name: p}, "likely", "abstains", "because", "trusted", "doubts", "notes", "flags", "verdict", "duration_s", "clips": [{"start_s", "end_s", "attention", "proba", "flags"}], "seconds"}]`, an item as soon as it is known; a file that failed has `"label": null` and `"error"` |
| `store ls` | `{"feature_sets": [{"name", "modality", "dim", "n_layers", "n_recordings", "n_clips", "n_missing", "n_failed", "fingerprint", "imported"}]}` |
| `store show` | the same with `"spec"`, `"runs": [{"run", "started", "versions", "command", "encoder", "n_recordings"}]` and `"recordings": [{"key", "paths", "outcome", "reason", "flags", "n_clips", "duration_s", "attempts", "stored", "run", "segment"}]` in each feature set; with `--recording` also its `"clips": [{"start_s", "end_s"}]` |
| `store import` | `{"stored", "already", "failed", "n_clips", "feature_sets", "problems": [{"path", "reason"}]}` |
| `store verify` | `{"ok", "checked", "problems": [{"segment", "recordings", "what"}]}` |
| `store heal` | `{"put_aside", "restored", "kept", "lost"}` |
| `store compact` | `{"feature_sets": [{"name", "n_segments_before", "n_segments", "n_bytes_before", "n_bytes", "n_dropped"}]}` |
| `store export` | `{"path", "bytes", "feature_sets"}` |
| `store rm` | `{"removed", "feature_sets": [{"name", "recordings"}]}`; recordings are keys |
| `doctor` | `{"ok", "checks": [{"name", "ok", "needed", "detail"}]}` |
| `demo` | what `compare` prints, and `"folder"`, `"extract"`, `"extract_again"`, `"shuffled_labels"`, `"random_encoders"`, `"predictions"` |
"""  # noqa: E501


def command_names() -> list[list[str]]:
    """Every command, as the words that call it."""
    root = typer.main.get_command(app)
    names: list[list[str]] = []
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        names += [[name, *([] if word is None else [word])] for word in (inner or [None])]
    return names


def render() -> str:
    """The page."""
    parts = [HEAD]
    for name in [[], *command_names()]:
        shown = CliRunner().invoke(app, [*name, "-h"], env={"COLUMNS": "100", "TERMINAL_WIDTH": "100"})
        lines = [f"    {line}".rstrip() for line in shown.stdout.strip().splitlines()]
        parts.append("\n".join([f"\n## {' '.join(['poise', *name])}\n", *lines, ""]))
    return "".join(parts)


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
