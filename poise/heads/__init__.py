"""Heads: from stored embeddings to trained, validated and compared classifiers, on a CPU in seconds.

>>> from poise.heads import Protocol, Strategy
>>> str(Strategy.parse("mean/early/logistic")), str(Protocol.parse("group:speaker"))
('mean/early/logistic', 'group:speaker:5')
"""

from poise.heads.classifier import ClipClassifier
from poise.heads.compare import compare
from poise.heads.comparison import Comparison
from poise.heads.defaults import default_protocols
from poise.heads.splits import Fold, Protocol, make_folds
from poise.heads.state import HeadState
from poise.heads.strategy import Strategy, make_grid
from poise.heads.study import write_study
from poise.heads.validate import OutOfFold, cross_validate

__all__ = [
    "ClipClassifier",
    "Comparison",
    "Fold",
    "HeadState",
    "OutOfFold",
    "Protocol",
    "Strategy",
    "compare",
    "cross_validate",
    "default_protocols",
    "make_folds",
    "make_grid",
    "write_study",
]
