"""How the fits of a validation are run: in this process, or in several, each of them with one thread.

A number never depends on which: every fit has its own seed, and one thread adds up in one order.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from poise.heads.fitting import fit_heads
from poise.heads.parameters import HeadSettings
from poise.heads.problem import Problem
from poise.heads.statistics.calibration import apply_temperature
from poise.store.bags import Bags

Task = tuple[Sequence[Problem], Sequence[Bags]]
"""Problems that are fitted together, and for each the recordings that it predicts."""

_WORTH_IT_S = 10.0


def run_tasks(tasks: Iterable[Task], settings: HeadSettings, *, n_tasks: int) -> Iterator[list[NDArray[np.float64]]]:
    """Fit and predict task after task; the first tells whether the rest is worth starting processes for.

    Parameters
    ----------
    tasks : iterable of (problems, inputs)
        Made one by one as they are needed, so that memory holds few of them.
    settings : HeadSettings
    n_tasks : int

    Yields
    ------
    list of ndarray of shape (n_recordings, n_classes), float64
        Probabilities for each of a task's problems, tasks in order.
    """
    source = iter(tasks)
    started = time.perf_counter()
    for task in itertools.islice(source, 1):
        yield _run(task, settings)
    left = n_tasks - 1
    n_processes = min(left, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    if n_processes > 1 and left * (time.perf_counter() - started) > _WORTH_IT_S:
        from joblib import Parallel, delayed

        parallel = Parallel(n_jobs=n_processes, return_as="generator", pre_dispatch=n_processes, batch_size=1)
        yield from parallel(delayed(_run)(task, settings) for task in source)
        return
    for task in source:
        yield _run(task, settings)


def _run(task: Task, settings: HeadSettings) -> list[NDArray[np.float64]]:
    problems, inputs = task
    with threadpool_limits(1):
        fits = fit_heads(problems, settings)
        return [
            apply_temperature(fit.head.predict_proba(test), fit.temperature)
            for fit, test in zip(fits, inputs, strict=True)
        ]
