"""The Ray cluster that a run works on: found or started, asked what it has, kept quiet, and left as it was.

Ray is imported here, and in the modules that only run on a cluster, when it is asked for.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from poise.errors import ClusterError, MissingDependencyError
from poise.extract.encoders.base import Encoder
from poise.store.schema import Modality
from poise.text import describe_error

_KNOCK_S = 10.0
_DATA_LOGGER = "ray.data"
_CORE_LEVEL = "RAY_BACKEND_LOG_LEVEL"

BLOCK_BYTES = 32 << 20
"""Prepared clips that go through the cluster in one piece; what a decoding task holds back at most."""


def import_ray() -> Any:
    """The package.

    Raises
    ------
    MissingDependencyError
        It is not installed, or not all of it.
    """
    # what Ray would tell its makers of a run is nobody's business
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingDependencyError(
            f"The engine ray needs Ray with its part for data, and that is not installed: {error}. Install it with: "
            "pip install 'poise[ray]'"
        ) from error
    return ray


class Cluster:
    """A connection to Ray.

    One that this process has already is used, and left open. Otherwise it is a connection of its own: to the cluster
    that ``RAY_ADDRESS`` names or that runs on this machine, or to a new one of this machine that ends with it.
    """

    def __init__(self) -> None:
        self._ray = import_ray()
        self._is_ours = False
        self._level = logging.NOTSET
        self.is_connected = False

    def connect(self) -> None:
        """Connect, which takes seconds; call it in the thread that lives as long as the connection.

        Raises
        ------
        ClusterError
            There is no cluster at that address, or none can be started.
        """
        if not self._ray.is_initialized():
            self._is_ours = True
            with _sigterm_kept(), _quiet_core():
                self._start()
        logger = logging.getLogger(_DATA_LOGGER)
        self._level, self.is_connected = logger.level, True
        logger.setLevel(logging.CRITICAL)  # what goes wrong is raised

    def _start(self) -> None:
        where = os.environ.get("RAY_ADDRESS", "")
        try:
            _knock(where)
            # without an address Ray would look for a cluster here, and take the traces of a dead one for one
            own = {} if where else {"address": "local"}
            self._ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, **own)
        except Exception as error:
            what = "started" if where in ("", "local") else f"reached at {where}"
            raise ClusterError(
                f"Ray cannot be {what}: {describe_error(error)}. Expected a cluster at the address in RAY_ADDRESS, or "
                "none there for one of this machine alone."
            ) from error

    def close(self) -> None:
        """Disconnect, and end a cluster that was started here; only if the connection is ours."""
        if self._is_ours and self._ray.is_initialized():
            self._ray.shutdown()
        if self.is_connected:
            logging.getLogger(_DATA_LOGGER).setLevel(self._level)
        self.is_connected = self._is_ours = False

    def size(self) -> ClusterSize:
        """What it has now."""
        total = self._ray.cluster_resources()
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        return ClusterSize(
            n_cpus=int(total.get("CPU", 0)),
            n_gpus=int(total.get("GPU", 0)),
            n_nodes=sum(resources.get("CPU", 0) > 0 for resources in nodes),
        )


@dataclass(frozen=True, kw_only=True)
class ClusterSize:
    """What a cluster has.

    Attributes
    ----------
    n_cpus, n_gpus : int
        Cores and GPUs of all nodes.
    n_nodes : int
        Nodes that have cores.
    """

    n_cpus: int
    n_gpus: int
    n_nodes: int


@dataclass(frozen=True, kw_only=True)
class Share:
    """What the actors of one encoder take.

    Attributes
    ----------
    n_actors : int
        How many there are at most.
    cpus, gpus : float
        What each takes of a node; as Ray counts, which enforces nothing.
    """

    n_actors: int
    cpus: float
    gpus: float


def share_out(encoders: Mapping[Modality, Encoder], size: ClusterSize) -> dict[Modality, Share]:
    """What each encoder takes of a cluster, so that all of them and one decoding task always have room.

    Each GPU has one actor of every encoder that may use one. Of the others each node has one, and however many cores
    they use they take half a one together, so that decoding gets all but one, as in a local run.
    """
    on_gpu = [m for m, encoder in encoders.items() if encoder.wanted_device != "cpu" and _has_gpus(encoder, size)]
    n_others = len(encoders) - len(on_gpu)
    n_nodes = max(1, size.n_nodes)
    # never the number of a decoding task: of two stages that take the same, Ray Data makes one
    cpus = 0.5 / n_others if n_others and size.n_cpus > n_nodes else 0.0
    return {
        modality: Share(n_actors=max(1, size.n_gpus), cpus=0.0, gpus=1 / len(on_gpu))
        if modality in on_gpu
        else Share(n_actors=n_nodes, cpus=cpus, gpus=0.0)
        for modality in encoders
    }


def _has_gpus(encoder: Encoder, size: ClusterSize) -> bool:
    """Whether there are GPUs, or will be when they are asked for: a cluster may start its nodes on demand."""
    return size.n_gpus > 0 or encoder.wanted_device.startswith("cuda")


def _knock(address: str) -> None:
    """Raise an OSError where nobody listens; Ray itself would try for minutes."""
    host, separator, port = address.rpartition(":")
    if separator and host and port.isdecimal() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=_KNOCK_S).close()


@contextmanager
def data_settings() -> Iterator[None]:
    """The settings of Ray Data for data sets made inside: nothing is printed, blocks are small; others keep theirs."""
    from ray.data import DataContext

    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = BLOCK_BYTES
    context.execution_options.preserve_order = False
    with DataContext.current(context):
        yield


@contextmanager
def _quiet_core() -> Iterator[None]:
    """Ray's core writes to stderr past Python, and when told not to says that it was told."""
    if _CORE_LEVEL in os.environ:
        yield
        return
    os.environ[_CORE_LEVEL] = "fatal"
    sys.stderr.flush()
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)
        del os.environ[_CORE_LEVEL]


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself, and then the run could not end in good order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
