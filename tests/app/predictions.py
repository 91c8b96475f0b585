"""Predictions for the tests of what is drawn of them. No test lives here."""

from __future__ import annotations

from typing import Any

from poise.serve.prediction import ClipPrediction, Prediction


def make_clip(start_s: float, attention: float, proba: dict[str, float] | None = None, **more: Any) -> ClipPrediction:
    settings = {"end_s": start_s + 5.0, **more}
    return ClipPrediction(start_s=start_s, attention=attention, proba=proba, **settings)


def make_prediction(*clips: ClipPrediction, **more: Any) -> Prediction:
    """One of three levels that nothing speaks against, unless ``more`` says otherwise."""
    settings: dict[str, Any] = {
        "path": "answer.mp4",
        "label": "moderate",
        "proba": {"low": 0.2, "moderate": 0.7, "high": 0.1},
        "likely": ("moderate",),
        "because": (),
        "doubts": (),
        "notes": (),
        "flags": (),
        "verdict": "supported",
        "duration_s": 15.0,
        "timings": {"decode": 0.5, "encode": 1.25, "head": 0.001, "total": 1.8},
        **more,
    }
    return Prediction(clips=clips, **settings)
