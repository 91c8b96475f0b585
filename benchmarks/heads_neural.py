"""How fast and how good networks are, against the plain loops that they replace, in turn and in one process.

    python benchmarks/heads_neural.py                             # speed of pooled networks and of attention
    python benchmarks/heads_neural.py --only quality              # beside a plain loop, on 12 synthetic sets
    python benchmarks/heads_neural.py --only quality --manifest interviews/labels.csv --store features

Figures of speed are seconds of one processor thread, medians over rounds. Plain loops are timed on a few models and
multiplied. Synthetic sets are those of the acceptance tests, as `benchmarks/heads.py` has them. Spreads of quality are
standard deviations over sets, or over five deals of the folds of real recordings.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).parent.parent))  # the tests' recordings

from poise.heads.fitting import decode
from poise.heads.inputs import as_table, prepare
from poise.heads.metrics import count_confusion, quadratic_kappa, ranked_probability
from poise.heads.neural.architecture import Architecture
from poise.heads.neural.forward import forward
from poise.heads.neural.network import fit_networks
from poise.heads.neural.packing import Rows, pack
from poise.heads.neural.training import Side, Stack
from poise.heads.ordinal import compute_loss, decode_logits, n_outputs
from poise.heads.problem import Problem
from poise.heads.splits import Fold, Protocol, make_folds
from poise.heads.strategy import Strategy
from poise.heads.validate import cross_validate
from poise.manifest import Manifest, read_manifest
from poise.store import FeatureStore
from poise.store.bags import Bags
from tests.heads.leakage import make_leaky

HEADS = ("softmax", "coral", "corn")
EPOCHS, SEEDS, K = 150, 10, 3
DEALS = 5
"""Folds of real recordings, each with its own."""

Line = tuple[str, str, float]
"""What was measured, what was wanted, and the figure."""


class Mlp(torch.nn.Module):
    """A notebook's network on pooled rows: 128 hidden units, dropout 0.3."""

    def __init__(self, n_columns: int, head: str) -> None:
        super().__init__()
        n_scores = 1 if head == "coral" else n_outputs(head, K)
        layers = torch.nn
        self.body = layers.Sequential(layers.Linear(n_columns, 128), layers.ReLU(), layers.Dropout(0.3))
        self.out = layers.Linear(128, n_scores, bias=head != "coral")
        self.cuts = layers.Parameter(torch.tensor([0.5, -0.5])) if head == "coral" else 0.0

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.out(self.body(rows)) + self.cuts


class Padded(torch.nn.Module):
    """A notebook's gated attention over padded clips of both modalities, 768 to 64 each, and 128 hidden units."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.own = torch.nn.ParameterDict({name.replace(".", "_"): weight for name, weight in weights.items()})

    def forward(self, clips: dict[str, torch.Tensor], masks: dict[str, torch.Tensor]) -> torch.Tensor:
        total = torch.zeros(())
        for name, padded in clips.items():
            keys, gate, query, weight, bias = (
                self.own[f"{name}_{part}"] for part in ("keys", "key_gate", "query", "weight", "bias")
            )
            scores = (torch.tanh(padded @ keys.T) * torch.sigmoid(padded @ gate.T)) @ query[0]
            shares = scores.masked_fill(~masks[name], -torch.inf).softmax(dim=1)  # (n_recordings, n_clips)
            total = total + (shares[:, None] @ padded)[:, 0] @ weight.T + bias[:, 0]
        return torch.relu(total) @ self.own["out_weight"].T + self.own["out_bias"][:, 0]


def train_plainly(model: torch.nn.Module, rows: torch.Tensor, ranks: torch.Tensor, head: str, batch: int) -> None:
    """AdamW, fused, over shuffled batches."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.003, weight_decay=0.01, fused=True)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(ranks)).split(batch):
            optimiser.zero_grad()
            compute_loss(head, model(rows[chosen]), ranks[chosen], torch.ones(len(chosen))).backward()
            optimiser.step()


def measure(*tasks: Callable[[], object], rounds: int) -> list[float]:
    """Processor seconds of each task, median over rounds in which the tasks take turns."""
    spent: list[list[float]] = [[] for _ in tasks]
    for _ in range(rounds):
        for task, times in zip(tasks, spent, strict=True):
            with threadpool_limits(1):
                began = time.process_time()
                task()
                times.append(time.process_time() - began)
    return [statistics.median(times) for times in spent]


def settings_of(head: str, pooling: str, fusion: str, **values: object):
    return Strategy(pooling=pooling, fusion=fusion, head=head, params=values).settings  # type: ignore[arg-type]


def problems_of(bags: Bags, manifest: Manifest, folds: Sequence[Fold], settings) -> list[Problem]:
    inputs = prepare(bags, settings)
    return [
        Problem(
            inputs=inputs[fold.train],
            ranks=manifest.labels[fold.train],
            weights=np.ones(len(fold.train)),
            groups=manifest.sources[fold.train],
            n_classes=K,
            seed=fold.fold,
        )
        for fold in folds
    ]


def as_one_block(bags: Bags, pooling: str) -> Bags:
    """Both modalities pooled and side by side, as a notebook has them."""
    table = as_table(prepare(bags, settings_of("softmax", pooling, "mid"))).astype(np.float32)
    return Bags.from_arrays({"video": list(table[:, None])}, keys=bags.keys)


def pooled(rounds: int) -> Iterator[Line]:
    """3 losses x 5 folds x 10 seeds of 150 epochs; a plain loop is timed on one fold and two seeds."""
    bags, manifest = make_leaky(signal=1.5)
    folds = make_folds(Protocol.parse("group:source:5"), manifest)
    for pooling in ("mean", "mean-std"):
        one = as_one_block(bags, pooling)

        def ours(one: Bags = one) -> None:
            for head in HEADS:
                settings = settings_of(head, "mean", "video", epochs=EPOCHS, n_seeds=SEEDS)
                for fold, fit in zip(
                    folds, fit_networks(problems_of(one, manifest, folds, settings), settings), strict=True
                ):
                    fit.head.predict_proba(one[fold.test])

        def theirs(batch: int, one: Bags = one) -> None:
            train = folds[0].train
            rows = torch.from_numpy(StandardScaler().fit_transform(one.modalities["video"].values[train])).float()
            for head in HEADS:
                for _ in range(2):
                    train_plainly(Mlp(rows.shape[1], head), rows, torch.from_numpy(manifest.labels[train]), head, batch)

        spent, full, small = measure(ours, lambda: theirs(1000), lambda: theirs(16), rounds=rounds)
        part = SEEDS * len(folds) / 2
        yield f"{pooling}: 150 networks, s", "", spent
        yield f"{pooling}: plain loop, batches of 16, s", "", small * part
        yield f"{pooling}: plain loop, batches of 16 / stacked, speed", ">= 10", small * part / spent
        yield f"{pooling}: plain loop, full batch / stacked, speed", ">= 10", full * part / spent


def full_size(bags: Bags, rows: NDArray[np.int64]) -> tuple[dict[str, Rows], Architecture]:
    """Standardised clips of some recordings, unreduced, and the notebook's network on them."""
    blocks = {}
    for name, block in bags[rows].modalities.items():
        clips = StandardScaler().fit_transform(block.values).astype(np.float32)
        blocks[name] = Rows(values=clips[:, None], offsets=block.offsets)
    settings = settings_of("corn", "gated-attention", "mid", attention_dim=64, hidden=128)
    return blocks, Architecture.of(settings, n_classes=K, seen=dict.fromkeys(blocks, (None, 768)))


def attention(rounds: int) -> Iterator[Line]:
    """Packed against padded clips at equal weights; the default network against the padded full-size one."""
    bags, manifest = make_leaky(signal=1.5)
    folds = make_folds(Protocol.parse("group:source:5"), manifest)
    train = folds[0].train
    blocks, architecture = full_size(bags, train)
    ranks, ones = torch.from_numpy(manifest.labels[train]), torch.ones(len(train))
    first = architecture.initialise(manifest.labels[train], np.ones(len(train)), np.random.default_rng(0))
    weights = {name: torch.from_numpy(weight[None]).requires_grad_() for name, weight in first.items()}
    batch = pack([blocks], pools=True)
    model = Padded({name: torch.from_numpy(weight) for name, weight in first.items()})
    clips, masks = {}, {}
    for name, block in blocks.items():
        longest = int(block.counts.max())
        masks[name] = torch.arange(longest) < torch.from_numpy(block.counts)[:, None]
        clips[name] = torch.zeros((len(train), longest, 768))
        clips[name][masks[name]] = torch.from_numpy(block.values[:, 0])
    packed_said, padded_said = forward(weights, batch)[0].T, model(clips, masks)
    torch.testing.assert_close(packed_said, padded_said, rtol=0, atol=1e-5)
    compute_loss("corn", packed_said, ranks, ones).backward()
    compute_loss("corn", padded_said, ranks, ones).backward()
    for name, weight in weights.items():
        torch.testing.assert_close(weight.grad[0], model.own[name.replace(".", "_")].grad, rtol=0, atol=1e-5)
    n_steps = 5

    def step_packed() -> None:
        for _ in range(n_steps):
            compute_loss("corn", forward(weights, batch)[0].T, ranks, ones).backward()

    def step_padded() -> None:
        for _ in range(n_steps):
            compute_loss("corn", model(clips, masks), ranks, ones).backward()

    settings = settings_of("corn", "attention", "mid", epochs=EPOCHS, n_seeds=SEEDS)
    small = {"attention_dim": 8, "hidden": 32}
    smaller = settings_of("corn", "attention", "mid", epochs=EPOCHS, n_seeds=SEEDS, **small)
    problems = problems_of(bags, manifest, folds, settings)
    packed, padded, default, little = measure(
        step_packed,
        step_padded,
        lambda: fit_networks(problems, settings),
        lambda: fit_networks(problems, smaller),
        rounds=rounds,
    )
    whole = padded / n_steps * EPOCHS * SEEDS * len(folds)
    yield (
        "share of padding",
        "",
        float(1 - sum(m.sum() for m in masks.values()) / sum(m.numel() for m in masks.values())),
    )
    yield "a step of full-size gated attention, padded, ms", "", padded / n_steps * 1e3
    yield "the same packed, speed", ">= 1.5", padded / packed
    yield "50 networks with attention, default, s", "", default
    yield "padded full-size loop / default attention, speed", ">= 20", whole / default
    yield "padded full-size loop / attention_dim=8,hidden=32, speed", "", whole / little


Scores = tuple[float, float, float, float]


def score(proba: NDArray[np.float64], manifest: Manifest, head: str) -> Scores:
    """Accuracy, QWK, log-loss and RPS over the originals."""
    kept = ~manifest.is_copy
    ranks, own, predicted = manifest.labels[kept], proba[kept], decode(proba, head)[kept]
    sure = np.maximum(own[np.arange(len(own)), ranks], 1e-6)
    kappa = float(quadratic_kappa(count_confusion(ranks, predicted, K)))
    return (predicted == ranks).mean(), kappa, -np.log(sure).mean(), ranked_probability(own, ranks).mean()


def predict_plainly(
    table: NDArray[np.float64], manifest: Manifest, folds: Sequence[Fold], head: str, batch: int, n_seeds: int
) -> NDArray[np.float64]:
    """Out-of-fold probabilities of the plain loop, the mean over seeds."""
    proba = np.zeros((len(table), K))
    for fold in folds:
        scaling = StandardScaler().fit(table[fold.train])
        train, test = (torch.from_numpy(scaling.transform(table[side])).float() for side in (fold.train, fold.test))
        for seed in range(n_seeds):
            torch.manual_seed(seed)
            model = Mlp(table.shape[1], head)
            train_plainly(model, train, torch.from_numpy(manifest.labels[fold.train]), head, batch)
            with torch.no_grad():
                proba[fold.test] += decode_logits(head, model.eval()(test).numpy()) / n_seeds
    return proba


def predict_full_size(bags: Bags, manifest: Manifest, folds: Sequence[Fold], epochs: int) -> NDArray[np.float64]:
    """Out-of-fold probabilities of one full-size network with gated attention, packed."""
    proba = np.zeros((len(bags), K))
    settings = settings_of("corn", "gated-attention", "mid", attention_dim=64, hidden=128)
    for fold in folds:
        together = np.concatenate([fold.train, fold.test])
        blocks, test = {}, {}
        for name, block in bags.modalities.items():
            scaling = StandardScaler().fit(block.take(fold.train).values)
            both = block.take(together)
            rows = Rows(values=scaling.transform(both.values).astype(np.float32)[:, None], offsets=both.offsets)
            blocks[name] = rows.take(np.arange(len(fold.train)))
            test[name] = rows.take(np.arange(len(fold.train), len(together)))
        architecture = Architecture.of(settings, n_classes=K, seen=dict.fromkeys(blocks, (None, 768)))
        ranks = manifest.labels[fold.train]
        side = Side(
            architecture=architecture, rows=blocks, ranks=ranks, weights=np.ones(len(ranks)), seed=(fold.fold, 0)
        )
        stack = Stack([side], range(1), settings)
        stack.train(epochs)
        said = stack.predict(pack([test], pools=True))[0].numpy()
        proba[fold.test] = decode_logits("corn", said).mean(axis=0)
    return proba


def quality(
    sets: Sequence[tuple[Bags, Manifest]], deals: Sequence[int], protocol: str, n_seeds: int
) -> Iterator[tuple[str, list[Scores]]]:
    """Every way on every set, under the same folds: one deal of them for each set."""
    parsed = Protocol.parse(protocol)
    column = parsed.column or "source"
    cases = [
        (bags, manifest, make_folds(parsed, manifest, seed=deal))
        for (bags, manifest), deal in zip(sets, deals, strict=True)
    ]

    def ours(spec: str, pooling: str | None = None) -> list[Scores]:
        strategy, found = Strategy.parse(spec), []
        for bags, manifest, folds in cases:
            seen = as_one_block(bags, pooling) if pooling else bags
            out = cross_validate(strategy, seen, manifest.labels, folds, n_classes=K, groups=manifest.groups(column))
            found.append(score(out.proba[0], manifest, strategy.head))
        return found

    yield "exact, mean, cumulative", ours("mean/video/cumulative", "mean")
    for pooling in ("mean", "mean-std"):
        for head in HEADS:
            yield f"stacked, {pooling}, {head}", ours(f"mean/video/{head}:n_seeds={n_seeds}", pooling)
            tables = [
                as_table(prepare(as_one_block(b, pooling), settings_of(head, "mean", "video"))) for b, _, _ in cases
            ]
            for batch, name in ((1000, "full batch"), (16, "batches of 16")):
                yield (
                    f"plain loop, {pooling}, {head}, {name}",
                    [
                        score(predict_plainly(table, manifest, folds, head, batch, n_seeds), manifest, head)
                        for table, (_, manifest, folds) in zip(tables, cases, strict=True)
                    ],
                )
    for spec in ("attention/mid/corn", "gated-attention/mid/corn", "attention/mid/corn:attention_dim=8,hidden=32"):
        comma = "," if ":" in spec else ":"
        yield f"stacked, {spec}", ours(f"{spec}{comma}n_seeds={n_seeds}")
    for epochs in (30, 100):
        yield (
            f"full-size gated attention, one seed, {epochs} epochs",
            [score(predict_full_size(*case, epochs), case[1], "corn") for case in cases],
        )


def main() -> None:
    """Measure and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["pooled", "attention", "quality"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sets", type=int, default=12, help="synthetic sets, for quality")
    parser.add_argument("--seeds", type=int, default=3, help="networks that are averaged, for quality")
    parser.add_argument("--manifest", type=Path, help="real recordings, for quality")
    parser.add_argument("--store", type=Path, help="their features")
    parser.add_argument("--protocol", default="group:source:5")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.only == "quality":
        sets, deals = [make_leaky(signal=1.5, seed=seed) for seed in range(given.sets)], [0] * given.sets
        if given.manifest:
            manifest, deals = read_manifest(given.manifest), list(range(DEALS))
            sets = [(FeatureStore.open(given.store).load(manifest), manifest)] * DEALS
        print("| | accuracy | QWK | log-loss | RPS |\n|---|---|---|---|---|")
        for what, scores in quality(sets, deals, given.protocol, given.seeds):
            spread = [f"{mean:.3f} ± {sd:.3f}" for mean, sd in zip(np.mean(scores, 0), np.std(scores, 0), strict=True)]
            print(f"| {what} | {' | '.join(spread)} |", flush=True)
        return
    parts = {"pooled": pooled, "attention": attention}
    print("| | wanted | |\n|---|---|---|")
    for name in [given.only] if given.only else list(parts):
        for what, wanted, figure in parts[name](given.rounds):
            print(f"| {what} | {wanted} | {figure:.3g} |", flush=True)


if __name__ == "__main__":
    main()
