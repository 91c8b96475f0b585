"""A trained head and a media file in, a prediction out: the one place where extraction meets heads."""

from poise.serve.bundle import Bundle, convert_bundle, read_bundle, write_bundle
from poise.serve.predict import Predictor
from poise.serve.prediction import ClipPrediction, Prediction

__all__ = [
    "Bundle",
    "ClipPrediction",
    "Prediction",
    "Predictor",
    "convert_bundle",
    "read_bundle",
    "write_bundle",
]
