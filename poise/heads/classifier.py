"""`ClipClassifier`: a strategy as a scikit-learn classifier over bags of clips, or over a plain table.

The heads' mathematics lives in linear, boosting and neural; this module checks, routes and keeps state.
"""

from __future__ import annotations

import itertools
from typing import Any, Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d, validate_data

from poise.errors import BundleError, StrategyError
from poise.heads.boosting import BoostedHead
from poise.heads.fusion import fuse, modalities_of
from poise.heads.linear import LogisticHead, RidgeHead
from poise.heads.ordinal import decode_median
from poise.heads.pooling import pool
from poise.heads.scaling import Standardiser
from poise.heads.state import STATE_VERSION, FittedHead, HeadState, check_config, check_learnt
from poise.heads.strategy import HEADS, PARAMETERS, POOLINGS, Strategy, check_name, check_pair
from poise.store.bags import Bags, ModalityBags


class ClipClassifier(ClassifierMixin, BaseEstimator):
    """Ordinal classifier of recordings from the embeddings of their clips.

    Everything is learnt in ``fit`` from the rows given: standardisation, projection, class weights,
    thresholds. A setting that the pooling and the head do not have is ignored.

    Parameters
    ----------
    pooling : {"mean", "mean-std", "attention"}, default="mean"
        How clips become one vector. ``attention`` needs a neural head (softmax, coral, corn).
    fusion : {"auto", "video", "audio", "early"} or the name of a modality, default="auto"
        Modalities used; ``auto`` takes all, clip by clip.
    head : {"softmax", "coral", "corn", "logistic", "ridge", "lightgbm"}, default="logistic"
    class_weight : {"none", "balanced"}, None or dict, default="none"
        ``balanced`` weighs each level by the inverse of its frequency; a dict gives a weight for each label.
    hidden : int, default=128
        Units of the neural heads' hidden layer; 0 leaves it out.
    dropout : float, default=0.3
        Share of hidden units dropped in each step of training.
    epochs : int, default=40
        Passes over the training rows; fixed, so that nothing needs to be held out to stop.
    lr, weight_decay : float
        AdamW's step size and decay.
    n_components : int, default=64
        Principal components that the neural heads see, at most the span of the training rows.
    n_seeds : int, default=5
        Networks whose probabilities are averaged.
    attention_dim : int, default=64
    C : float, default=10.0
        Inverse penalty of ``logistic``, for rows of unit mean square.
    alpha : float, default=3.0
        Penalty of ``ridge``, for rows of unit mean square.
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
    standardiser_ : Standardiser
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
        head: str = "logistic",
        *,
        class_weight: str | dict[Any, float] | None = "none",
        hidden: int = 128,
        dropout: float = 0.3,
        epochs: int = 40,
        lr: float = 0.003,
        weight_decay: float = 0.01,
        n_components: int = 64,
        n_seeds: int = 5,
        attention_dim: int = 64,
        C: float = 10.0,
        alpha: float = 3.0,
        n_trees: int = 100,
        n_leaves: int = 7,
        shrinkage: float = 0.1,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.pooling = pooling
        self.fusion = fusion
        self.head = head
        self.class_weight = class_weight
        self.hidden = hidden
        self.dropout = dropout
        self.epochs = epochs
        self.lr = lr
        self.weight_decay = weight_decay
        self.n_components = n_components
        self.n_seeds = n_seeds
        self.attention_dim = attention_dim
        self.C = C
        self.alpha = alpha
        self.n_trees = n_trees
        self.n_leaves = n_leaves
        self.shrinkage = shrinkage
        self.random_state = random_state

    @classmethod
    def from_strategy(cls, strategy: Strategy, *, random_state: int | None = 0) -> Self:
        """An unfitted classifier with the settings of a strategy."""
        settings = cast("dict[str, Any]", dict(strategy.params))
        return cls(strategy.pooling, strategy.fusion, strategy.head, random_state=random_state, **settings)

    def fit(self, X: Bags | ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Learn from recordings and their labels.

        Parameters
        ----------
        X : Bags, or array-like of shape (n_recordings, dim)
            An array is taken as bags of one clip each.
        y : array-like of shape (n_recordings,)
            Labels; their sorted order is the order of the levels.
        sample_weight : array-like of shape (n_recordings,), optional

        Returns
        -------
        self

        Raises
        ------
        StrategyError
            A setting does not exist or fit, a recording lacks what the fusion needs, or training diverged.
        """
        params = self._check_settings()
        bags, labels = self._read_training(X, y)
        check_classification_targets(labels)
        self.classes_, ranks = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"All {len(labels)} recordings have one label ({self.classes_[0]}): there is one class only. "
                "Expected two or more."
            )
        weights = self._weigh(sample_weight, bags, ranks)
        self.modalities_ = {name: bags.modalities[name].dim for name in modalities_of(self.fusion, bags)}
        rows, offsets = self._rows(bags)
        self.standardiser_ = Standardiser.fit(rows, np.repeat(weights, np.diff(offsets)))
        self.head_ = self._fit_head(self.standardiser_.transform(rows), offsets, ranks, weights, params)
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
        rows, offsets = self._rows(self._read(X))
        if len(offsets) == 1:
            return np.zeros((0, len(self.classes_)))
        proba = self.head_.predict_proba(self.standardiser_.transform(rows), offsets)
        check_learnt({"probabilities": proba}, self.head)
        return proba

    def predict(self, X: Bags | ArrayLike) -> NDArray[Any]:
        """Labels.

        The ordinal heads (coral, corn, ridge, lightgbm) give the median of their distribution: the
        number of levels exceeded with a probability above one half. softmax and logistic give the
        likeliest level.

        Parameters
        ----------
        X : Bags, or array-like of shape (n_recordings, dim)

        Returns
        -------
        ndarray of shape (n_recordings,)
        """
        proba = self.predict_proba(X)
        ranks = proba.argmax(axis=1) if self.head in ("softmax", "logistic") else decode_median(proba)
        return np.asarray(self.classes_[ranks])

    def attention(self, X: Bags | ArrayLike) -> list[NDArray[np.float64]]:
        """How much each clip counts in its recording's prediction.

        Parameters
        ----------
        X : Bags, or array-like of shape (n_recordings, dim)

        Returns
        -------
        list of ndarray of shape (n_clips,), float64
            Sums to 1 within a recording; all equal where the pooling is not ``attention``. Clips are
            those of ``fusion.fuse(X, ...)``.
        """
        rows, offsets = self._rows(self._read(X), pooled=False)
        if self.pooling != "attention":
            counts = np.diff(offsets)
            return [np.full(count, 1 / count) for count in counts]
        from poise.heads.neural import NetworkHead

        shares = cast("NetworkHead", self.head_).attention(self.standardiser_.transform(rows), offsets)
        return [shares[start:stop] for start, stop in itertools.pairwise(offsets)]

    def export_state(self) -> HeadState:
        """Everything that predictions are made from, without pickle."""
        check_is_fitted(self)
        settings = self.get_params() | self._check_settings()
        if not isinstance(settings["random_state"], int):
            settings["random_state"] = None
        if isinstance(self.class_weight, dict):
            settings["class_weight"] = {str(label): float(weight) for label, weight in self.class_weight.items()}
        config = {
            "version": STATE_VERSION,
            "settings": settings,
            "classes": self.classes_.tolist(),
            "modalities": dict(self.modalities_),
        }
        scaling = {f"standardiser.{name}": array for name, array in self.standardiser_.arrays().items()}
        head = {f"head.{name}": array for name, array in self.head_.arrays().items()}
        return HeadState(config=config, arrays=scaling | head)

    @classmethod
    def from_state(cls, state: HeadState) -> Self:
        """A fitted classifier with bit-equal predictions.

        Raises
        ------
        BundleError
            The state is of another version, or its parts do not fit together.
        """
        settings = check_config(state.config, cls().get_params())
        model = cls(**settings)
        try:
            params = model._check_settings()
        except StrategyError as error:
            raise BundleError(f"The model's settings are not valid: {error}") from error
        model.classes_ = np.array(state.config["classes"])
        model.modalities_ = dict(state.config["modalities"])
        if set(model.modalities_) == {"features"}:
            model.n_features_in_ = model.modalities_["features"]
        dim = sum(model.modalities_.values()) * (2 if model.pooling == "mean-std" else 1)
        model.standardiser_ = Standardiser.from_arrays(_part(state, "standardiser"), n_features=dim)
        model.head_ = model._read_head(state, params)
        return model

    def _check_settings(self) -> dict[str, Any]:
        """Settings in their own types."""
        check_name("pooling", self.pooling, POOLINGS)
        check_name("head", self.head, HEADS)
        check_pair(self.pooling, self.head)
        given = {name: getattr(self, name) for name in PARAMETERS}
        if self.class_weight is None or isinstance(self.class_weight, dict):
            given["class_weight"] = "none"
        return {name: known.check(name, given[name]) for name, known in PARAMETERS.items()}

    def _read_training(self, X: Bags | ArrayLike, y: ArrayLike) -> tuple[Bags, NDArray[Any]]:
        if not isinstance(X, Bags):
            table, labels = validate_data(self, X, y, dtype=np.float64)
            return Bags.from_array(table), labels
        labels = column_or_1d(y, warn=True)
        if len(labels) != len(X):
            raise ValueError(f"There are {len(X)} recordings and {len(labels)} labels; expected one label for each.")
        return X, labels

    def _read(self, X: Bags | ArrayLike) -> Bags:
        check_is_fitted(self)
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
        elif self.class_weight == "balanced":
            mass = np.bincount(ranks, weights=weights)
            balance = weights.sum() / (len(mass) * np.where(mass > 0, mass, 1))
            weights = weights * balance[ranks]
        return np.asarray(weights)

    def _rows(self, bags: Bags, *, pooled: bool = True) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """What the head sees: a row for each recording, or for attention its clips, and the offsets of recordings."""
        clips: ModalityBags = fuse(bags, self.fusion)
        if not np.isfinite(clips.values).all():
            raise ValueError(
                "The features hold NaN or infinity; expected finite numbers. Extract the recordings again."
            )
        if self.pooling == "attention" or not pooled:
            return clips.values, clips.offsets
        if not len(clips):
            return np.zeros((0, clips.dim)), clips.offsets
        return pool(clips, self.pooling), np.arange(len(clips) + 1)

    def _fit_head(
        self,
        X: NDArray[np.float64],
        offsets: NDArray[np.int64],
        ranks: NDArray[np.int64],
        weights: NDArray[np.float64],
        params: dict[str, Any],
    ) -> FittedHead:
        match self.head:
            case "logistic":
                return LogisticHead.fit(X, ranks, weights, C=params["C"])
            case "ridge":
                return RidgeHead.fit(X, ranks, weights, alpha=params["alpha"])
            case "lightgbm":
                trees = {name: params[name] for name in ("n_trees", "n_leaves", "shrinkage")}
                return BoostedHead.fit(X, ranks, weights, seed=self._draw_seed(), **trees)
        from poise.heads.neural import NetworkHead

        return NetworkHead.fit(X, offsets, ranks, weights, self._network(params, self._draw_seed()))

    def _draw_seed(self) -> int:
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _network(self, params: dict[str, Any], seed: int) -> Any:
        from poise.heads.neural import NetworkSettings

        attention_dim = params["attention_dim"] if self.pooling == "attention" else 0
        names = ("hidden", "dropout", "epochs", "lr", "weight_decay", "n_components", "n_seeds")
        return NetworkSettings(
            head=self.head,
            n_classes=len(self.classes_),
            attention_dim=attention_dim,
            random_state=seed,
            **{name: params[name] for name in names},
        )

    def _read_head(self, state: HeadState, params: dict[str, Any]) -> FittedHead:
        arrays = _part(state, "head")
        sizes = {"n_features": len(self.standardiser_.kept), "n_classes": len(self.classes_)}
        match self.head:
            case "logistic":
                return LogisticHead.from_arrays(arrays, **sizes)
            case "ridge":
                return RidgeHead.from_arrays(arrays, **sizes)
            case "lightgbm":
                return BoostedHead.from_arrays(arrays, **sizes)
        from poise.heads.neural import NetworkHead

        return NetworkHead.from_arrays(arrays, settings=self._network(params, 0), n_features=sizes["n_features"])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # one latent score cannot part blobs that lie in no order
        tags.classifier_tags.poor_score = self.head not in ("softmax", "logistic")
        return tags


def _list_dims(dims: dict[str, int]) -> str:
    return ", ".join(f"{name} of {dim}" for name, dim in dims.items())


def _part(state: HeadState, name: str) -> dict[str, NDArray[Any]]:
    """The arrays of one part of a state."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): array for key, array in state.arrays.items() if key.startswith(prefix)}
