"""`ClipClassifier`: a strategy as a scikit-learn classifier over bags of clips, or over a plain table.

The heads' mathematics lives in exact, neural and boosting; this module checks and keeps state.
"""

from __future__ import annotations

import warnings
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d, validate_data

from poise.errors import BundleError, StrategyError
from poise.heads.fitting import decode, fit_heads, read_head
from poise.heads.fusion import modalities_of
from poise.heads.inputs import Shapes, expected_shapes, prepare, see_clips
from poise.heads.parameters import (
    AUTO,
    FUSIONS,
    HEADS,
    LEARNT_POOLINGS,
    NOMINAL_HEADS,
    PARAMETERS,
    POOLINGS,
    HeadSettings,
)
from poise.heads.problem import Problem, weigh_levels
from poise.heads.state import STATE_VERSION, HeadState, check_config, check_learnt, part_of
from poise.heads.statistics.calibration import apply_temperature
from poise.heads.strategy import Strategy, check_fit, check_layer, check_name
from poise.heads.timeline import Timeline, merge_shares
from poise.store.bags import Bag, Bags


class ClipClassifier(ClassifierMixin, BaseEstimator):
    """Ordinal classifier of recordings from the embeddings of their clips.

    Everything is learnt in ``fit`` from the rows given: standardisation, projection, class weights,
    thresholds. A setting that the pooling and the head do not have is ignored.

    Parameters
    ----------
    pooling : {"mean", "mean-std", "max", "attention", "gated-attention"}, default="mean"
        How clips become one vector. The last two need a neural head.
    fusion : {"auto", "video", "audio", "early", "mid", "gated", "late"} or the name of a modality, default="auto"
        Modalities used; ``auto`` takes all, clip by clip. With ``mid``, ``gated`` (neural heads) and ``late`` a
        recording may lack one.
    head : str, default="cumulative"
        Exact and linear: ``cumulative`` (proportional odds), ``all-threshold``, ``frank-hall``, ``logistic``,
        ``ridge``. Neural: ``softmax``, ``coral``, ``corn``, ``regression``. Trees: ``lightgbm``.
    class_weight : {"none", "balanced"}, None or dict, default="none"
        ``balanced`` weighs each level by the inverse of its frequency; a dict gives a weight for each label.
    clips : str, default="all"
        ``all``, ``first:N``, ``spread:N``, ``full:N``, ``longest`` or ``longest:N``.
    layer : str, default="mean"
        Of features that keep several layers: ``mean``, the number of one, or ``learnt`` weights (neural heads).
    calibrate : {"none", "temperature"}, default="none"
        ``temperature`` sharpens or softens probabilities as held-out groups of the training side ask for.
    n_components : int or "auto", default="auto"
        Principal components that the head sees; ``auto`` is 64 for neural heads, for exact ones 256, and for LightGBM
        all columns. Never more than the span of the training rows.
    alpha : float or "auto", default="auto"
        L2 penalty of the exact heads, for rows of unit mean square; ``auto`` takes the one of nine that predicts
        held-out groups of the training side best.
    hidden : int, default=128
        Units of the neural heads' hidden layer; 0 leaves it out.
    dropout : float, default=0.3
        Share of hidden units dropped in each step of training.
    epochs : int or "auto", default="auto"
        Passes over the training rows; ``auto`` takes the number that predicts held-out groups of the training side
        best.
    lr, weight_decay : float
        AdamW's step size and decay.
    n_seeds : int, default=5
        Networks whose probabilities are averaged.
    attention_dim : int, default=16
    n_trees, n_leaves : int
        Size of LightGBM's ensembles.
    shrinkage : float, default=0.1
        LightGBM's learning rate.
    random_state : int, RandomState or None, default=0

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels in rising order, which is their rank.
    modalities_ : dict of str to int
        Modalities used and the length of their embeddings.
    layers_ : dict of str to int
        How many layers the modalities keep whose layers are weighed.
    temperature_ : float
        1 without calibration.
    chosen_ : dict of str to float
        What settings left at ``auto`` came to on inner folds: ``alpha`` or ``epochs``; with the fusion ``late`` of each
        modality, as ``video.alpha``. A classifier that was read from its state does not have it.
    head_ : FittedHead

    Examples
    --------
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> ClipClassifier().fit(X, [0, 0, 1, 1]).predict([[0.2], [2.9]])
    array([0, 1])
    """

    def __init__(
        self,
        pooling: str = "mean",
        fusion: str = "auto",
        head: str = "cumulative",
        *,
        class_weight: str | dict[Any, float] | None = "none",
        clips: str = "all",
        layer: str = "mean",
        calibrate: str = "none",
        n_components: int | str = AUTO,
        alpha: float | str = AUTO,
        hidden: int = 128,
        dropout: float = 0.3,
        epochs: int | str = AUTO,
        lr: float = 0.005,
        weight_decay: float = 0.01,
        n_seeds: int = 5,
        attention_dim: int = 16,
        n_trees: int = 100,
        n_leaves: int = 7,
        shrinkage: float = 0.1,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.pooling = pooling
        self.fusion = fusion
        self.head = head
        self.class_weight = class_weight
        self.clips = clips
        self.layer = layer
        self.calibrate = calibrate
        self.n_components = n_components
        self.alpha = alpha
        self.hidden = hidden
        self.dropout = dropout
        self.epochs = epochs
        self.lr = lr
        self.weight_decay = weight_decay
        self.n_seeds = n_seeds
        self.attention_dim = attention_dim
        self.n_trees = n_trees
        self.n_leaves = n_leaves
        self.shrinkage = shrinkage
        self.random_state = random_state

    @classmethod
    def from_strategy(cls, strategy: Strategy, *, random_state: int | None = 0) -> Self:
        """An unfitted classifier with the settings of a strategy.

        Raises
        ------
        StrategyError
            The strategy centres by group, which takes more than one recording: see `poise.heads.inputs.center_groups`.
        """
        settings: dict[str, Any] = dict(strategy.params)
        if settings.pop("center", "none") != "none":
            raise StrategyError(
                f"{strategy} centres by group, which no classifier of single recordings can do. Leave center out, or "
                "give center_groups(bags, groups) to a classifier without it."
            )
        return cls(strategy.pooling, strategy.fusion, strategy.head, random_state=random_state, **settings)

    def fit(
        self,
        X: Bags | ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Learn from recordings and their labels.

        Parameters
        ----------
        X : Bags, or array-like of shape (n_recordings, dim)
            An array is taken as bags of one clip each.
        y : array-like of shape (n_recordings,)
            Labels; their sorted order is the order of the levels.
        sample_weight : array-like of shape (n_recordings,), optional
            From 0 on; a weight of 2 counts as two such recordings.
        groups : array-like of shape (n_recordings,), optional
            What stays together, as speakers, where a part of the recordings is held out to choose ``alpha``, ``epochs``
            or a temperature. By default each recording stands alone.

        Returns
        -------
        self

        Raises
        ------
        StrategyError
            A setting does not exist or fit, a recording lacks what the fusion needs, or training diverged.
        """
        settings = self._check_settings()
        bags, labels = self._read_training(X, y)
        check_classification_targets(labels)
        self.classes_, ranks = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"All {len(labels)} recordings have one label ({self.classes_[0]}): there is one class only. "
                "Expected two or more."
            )
        if self.classes_.dtype.kind in "UO" and len(self.classes_) > 2 and self.head not in NOMINAL_HEADS:
            warnings.warn(
                f"The labels are texts, and their order is the alphabet's: {' < '.join(map(str, self.classes_))}. "
                "Give ranks 0, 1, 2, … (manifest.labels) if that is not the order of the levels.",
                stacklevel=2,
            )
        weights = self._weigh(sample_weight, bags, ranks)
        used = modalities_of(self.fusion, bags)
        self.modalities_ = {name: bags.modalities[name].dim for name in used}
        layers = {name: bags.modalities[name].n_layers for name in used} if self.layer == "learnt" else {}
        self.layers_ = {name: n for name, n in layers.items() if n is not None}
        problem = Problem(
            inputs=prepare(bags, settings),
            ranks=ranks,
            weights=weights,
            groups=_number_groups(groups, bags),
            n_classes=len(self.classes_),
            seed=int(check_random_state(self.random_state).randint(2**31 - 1)),
        )
        (fit,) = fit_heads([problem], settings)
        self.head_ = fit.head
        self.temperature_ = fit.temperature
        self.chosen_ = dict(fit.chosen)
        check_learnt(self.head_.arrays(), self.head)
        return self

    def predict_proba(self, X: Bags | ArrayLike) -> NDArray[np.float64]:
        """Probabilities of the levels in the order of ``classes_``.

        Parameters
        ----------
        X : Bags, or array-like of shape (n_recordings, dim)

        Returns
        -------
        ndarray of shape (n_recordings, n_classes), float64
        """
        inputs = prepare(self._read(X), self._check_settings())
        if not len(inputs):
            return np.zeros((0, len(self.classes_)))
        proba = apply_temperature(self.head_.predict_proba(inputs), self.temperature_)
        check_learnt({"probabilities": proba}, self.head)
        return np.asarray(proba + 0.0)  # no zero has a sign

    def predict(self, X: Bags | ArrayLike) -> NDArray[Any]:
        """Labels.

        All heads give the median of their distribution, the number of levels exceeded with a probability above one
        half; but ``softmax`` and ``logistic``, which know no order, give the likeliest level.

        Parameters
        ----------
        X : Bags, or array-like of shape (n_recordings, dim)

        Returns
        -------
        ndarray of shape (n_recordings,)
        """
        ranks = decode(self.predict_proba(X), self.head)
        return np.asarray(self.classes_[ranks])

    def attention(self, X: Bags | ArrayLike) -> list[NDArray[np.float64]]:
        """How much each clip counts in its recording's prediction.

        Parameters
        ----------
        X : Bags, or array-like of shape (n_recordings, dim)

        Returns
        -------
        list of ndarray of shape (n_clips,), float64
            Sums to 1 within a recording; all equal where the pooling learns nothing. Clips are those of `timeline`.
        """
        return [shares for _, shares in self.timeline(X)]

    def timeline(self, X: Bags | ArrayLike) -> Timeline:
        """When in each recording the clips lie that are used, and how much each counts.

        Parameters
        ----------
        X : Bags, or array-like of shape (n_recordings, dim)

        Returns
        -------
        list of (ndarray of shape (n_clips, 2), ndarray of shape (n_clips,)), float64
            Start and end of each clip in seconds, NaN where unknown, and its share. Where modalities are pooled each
            for itself, a span counts what it counts in both.
        """
        bags, settings = self._read(X), self._check_settings()
        clips = see_clips(bags, settings)
        if self.pooling in LEARNT_POOLINGS:
            return merge_shares(clips, self.head_.attention(prepare(bags, settings)) if len(bags) else {})
        pooled = self.head_.attention(prepare(bags, settings)) if len(bags) else {}
        spread = {
            name: np.repeat(pooled[name] / block.n_clips[block.present], block.n_clips[block.present])
            for name, block in clips.modalities.items()
            if name in pooled
        }
        return merge_shares(clips, spread)

    def export_state(self) -> HeadState:
        """Everything that predictions are made from, without pickle.

        Raises
        ------
        BundleError
            The labels are neither whole numbers, numbers, texts nor booleans, or something else cannot be written.
        """
        check_is_fitted(self)
        settings = self.get_params() | {name: self._check_settings()[name] for name in _OWN}
        state = settings["random_state"]
        settings["random_state"] = int(state) if isinstance(state, Integral) else None
        if isinstance(self.class_weight, dict):
            settings["class_weight"] = {str(label): float(weight) for label, weight in self.class_weight.items()}
        config = {
            "version": STATE_VERSION,
            "settings": settings,
            "classes": self.classes_.tolist(),
            "modalities": dict(self.modalities_),
            "layers": dict(self.layers_),
            "temperature": self.temperature_,
        }
        check_config(config, self.get_params())
        return HeadState(config=config, arrays={f"head.{name}": array for name, array in self.head_.arrays().items()})

    @classmethod
    def from_state(cls, state: HeadState) -> Self:
        """A fitted classifier with bit-equal predictions.

        Raises
        ------
        BundleError
            The state is of another version, or its parts do not fit together.
        """
        given = check_config(state.config, cls().get_params())
        model = cls(**given)
        try:
            settings = model._check_settings()
        except StrategyError as error:
            raise BundleError(f"The model's settings are not valid: {error}") from error
        model.classes_ = np.array(state.config["classes"])
        model.modalities_ = dict(state.config["modalities"])
        model.layers_ = dict(state.config["layers"])
        model.temperature_ = float(state.config["temperature"])
        if set(model.modalities_) == {"features"}:
            model.n_features_in_ = model.modalities_["features"]
        shapes: Shapes = {name: (model.layers_.get(name), dim) for name, dim in model.modalities_.items()}
        model.head_ = read_head(
            part_of(state.arrays, "head"),
            settings,
            shapes=expected_shapes(shapes, settings),
            n_classes=len(model.classes_),
        )
        strange = sorted(set(part_of(state.arrays, "head")) - set(model.head_.arrays()))
        if strange:
            raise BundleError(f"The model has the array {strange[0]!r}, which no such head has. Train it again.")
        return model

    def _check_settings(self) -> HeadSettings:
        """Settings in their own types; a fusion may also be the name of any modality."""
        check_name("pooling", self.pooling, POOLINGS)
        check_name("head", self.head, HEADS)
        if not isinstance(self.fusion, str):
            check_name("fusion", self.fusion, (AUTO, *FUSIONS))
        check_fit(self.pooling, self.fusion, self.head)
        given = {name: getattr(self, name) for name in _OWN}
        if self.class_weight is None or isinstance(self.class_weight, dict):
            given["class_weight"] = "none"
        values = {name: PARAMETERS[name].check(name, value) for name, value in given.items()}
        check_layer(values["layer"], self.head)
        return HeadSettings(pooling=self.pooling, fusion=self.fusion, head=self.head, values=values)

    def _read_training(self, X: Bags | ArrayLike, y: ArrayLike) -> tuple[Bags, NDArray[Any]]:
        _refuse_single(X)
        if not isinstance(X, Bags):
            table, labels = validate_data(self, X, y, dtype=np.float64)
            return Bags.from_array(table), labels
        labels = column_or_1d(y, warn=True)
        if len(labels) != len(X):
            raise ValueError(f"There are {len(X)} recordings and {len(labels)} labels; expected one label for each.")
        return X, labels

    def _read(self, X: Bags | ArrayLike) -> Bags:
        check_is_fitted(self)
        _refuse_single(X)
        bags = X if isinstance(X, Bags) else Bags.from_array(validate_data(self, X, dtype=np.float64, reset=False))
        got = {name: bags.modalities[name].dim for name in self.modalities_ if name in bags.modalities}
        if got != self.modalities_:
            expected, found = (_list_dims(dims) for dims in (self.modalities_, got))
            raise StrategyError(
                f"The features are {found or 'of other modalities'}, but the model was trained on {expected}. "
                "Give it features of the same encoders."
            )
        return Bags(keys=bags.keys, modalities={name: bags.modalities[name] for name in self.modalities_})

    def _weigh(self, sample_weight: ArrayLike | None, bags: Bags, ranks: NDArray[np.int64]) -> NDArray[np.float64]:
        weights = _check_sample_weight(
            sample_weight, np.empty((len(bags), 1)), dtype=np.float64, ensure_non_negative=True
        )
        if isinstance(self.class_weight, dict):
            weights = weights * compute_sample_weight(self.class_weight, self.classes_[ranks])
            if not (weights >= 0).all() or not np.isfinite(weights).all():
                raise ValueError(f"The class weights are {self.class_weight}; expected finite numbers from 0 on.")
        elif self.class_weight is not None:
            weights = weigh_levels(ranks, self.class_weight, weights)
        if weights.max(initial=0.0) > _LARGEST_WEIGHT or 0 < weights.max(initial=0.0) < 1 / _LARGEST_WEIGHT:
            raise StrategyError(
                f"The largest weight of a recording is {weights.max():.3g}; expected one between "
                f"{1 / _LARGEST_WEIGHT:g} and {_LARGEST_WEIGHT:g}. A weight of 2 counts as two such recordings."
            )
        if weights.max(initial=0.0) > _HEAVIEST * np.min(weights, where=weights > 0, initial=np.inf):
            raise StrategyError(
                f"Weights of recordings go from {np.min(weights, where=weights > 0, initial=np.inf):.3g} to "
                f"{weights.max():.3g}; expected the largest to be at most {_HEAVIEST:g} times the smallest."
            )
        return np.asarray(weights)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # one latent score cannot part blobs that lie in no order
        tags.classifier_tags.poor_score = self.head not in NOMINAL_HEADS
        return tags


_LARGEST_WEIGHT = 1e100

_HEAVIEST = 1e9
"""Weights that differ by more are more than float64 can weigh against each other."""

_OWN = tuple(name for name in PARAMETERS if name != "center")
"""Settings of a strategy that a classifier has: it is given centred features."""


def _refuse_single(X: object) -> None:
    """A row of bags is no bags, and neither is a list of rows."""
    if isinstance(X, Bag) or (isinstance(X, list) and X and isinstance(X[0], Bag)):
        what = "a list of Bag" if isinstance(X, list) else "one Bag"
        raise ValueError(
            f"X is {what}; expected Bags or a table. Select rows with a list, as bags[[0, 1]], or join them with "
            "Bags.from_list."
        )


def _number_groups(groups: ArrayLike | None, bags: Bags) -> NDArray[np.int64]:
    if groups is None:
        return np.arange(len(bags))
    names = column_or_1d(groups)
    if len(names) != len(bags):
        raise ValueError(f"There are {len(bags)} recordings and {len(names)} groups; expected one group for each.")
    if any(name is None or name != name for name in names.tolist()):  # noqa: PLR0124  NaN is not itself
        raise ValueError("Some groups are None or NaN; expected a name or a number for each recording.")
    return np.asarray(np.unique(names, return_inverse=True)[1], dtype=np.int64)


def _list_dims(dims: dict[str, int]) -> str:
    return ", ".join(f"{name} of {dim}" for name, dim in dims.items())
