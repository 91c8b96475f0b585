"""What a process does to files, step by step, and what a power loss may leave of it."""

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Event:
    """Something that a process did to the names or the bytes of files."""

    what: str
    path: str
    other: str = ""
    data: bytes = b""


@contextmanager
def recorded(root: Path) -> Iterator[list[Event]]:
    """Note what happens to files below a folder while the block runs."""
    events: list[Event] = []

    def note(what: str, path: object, other: object = "", data: bytes = b"") -> None:
        shown = os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else os.fspath(path)
        if shown.startswith(f"{root}") and "/cache" not in shown:  # what is derived may be lost
            events.append(Event(what, shown, str(other), data))

    def wrapped(name: str, before: Callable[..., None] | None, after: Callable[..., None] | None = None) -> None:
        real = getattr(os, name)

        def call(*arguments: object, **options: object) -> object:
            if before is not None:
                before(*arguments)
            result = real(*arguments, **options)
            if after is not None:
                after(*arguments)
            return result

        patch.setattr(os, name, call)

    def opened(path: object, flags: int, *_: object) -> None:
        if flags & os.O_CREAT:
            note("create", path)

    def synced(descriptor: int) -> None:
        file = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        note("sync folder", descriptor) if file.is_dir() else note("sync", descriptor, data=file.read_bytes())

    with pytest.MonkeyPatch.context() as patch:
        wrapped("open", None, opened)
        wrapped("write", lambda descriptor, _: note("write", descriptor))
        wrapped("pwrite", lambda descriptor, *_: note("write", descriptor))
        wrapped("fsync", None, synced)
        wrapped("rename", lambda old, new: note("rename", old, new))
        wrapped("unlink", lambda path: note("unlink", path))
        wrapped("mkdir", None, lambda path, *_: note("mkdir", path))
        yield events


def check_order(events: list[Event]) -> None:
    """Bytes are synced before they have their name, and names before anything older goes or is reported."""
    unsynced_files: set[str] = set()
    unsynced_folders: set[str] = set()
    for event in events:
        match event.what:
            case "write":
                unsynced_files.add(event.path)
            case "sync":
                unsynced_files.discard(event.path)
            case "sync folder":
                unsynced_folders.discard(event.path)
            case "mkdir":
                unsynced_folders.add(os.path.dirname(event.path))
            case "rename" if "/.tmp-" in event.path:
                assert event.path not in unsynced_files, f"{event.other} has its name before its bytes are synced"
                unsynced_folders.add(os.path.dirname(event.other))
            case "rename" | "unlink" | "told":
                assert not unsynced_folders, f"{event.what} {event.path} before {unsynced_folders} is synced"


@dataclass(eq=False)
class Inode:
    """A file apart from its name; bytes that were not synced are lost."""

    data: bytes | None = b""  # None: a folder


@dataclass(eq=False)
class Step:
    """A change of names that is certain only when every folder in it was synced."""

    folders: set[str]
    old: str
    new: str
    inode: Inode

    def apply(self, names: dict[str, Inode]) -> None:
        names.pop(self.old, None)
        if self.new:
            names[self.new] = self.inode


class Disk:
    """What may be on a disk after a power loss: what was synced is, of all else any part may be."""

    def __init__(self, root: Path) -> None:
        found = {path.as_posix(): Inode(None if path.is_dir() else path.read_bytes()) for path in root.rglob("*")}
        self._root = root
        self._certain = found
        self.now = dict(found)
        self._pending: list[Step] = []

    def apply(self, event: Event) -> None:
        match event.what:
            case "create" | "mkdir":
                self._change("", event.path, Inode(b"" if event.what == "create" else None))
            case "rename":
                self._change(event.path, event.other, self.now[event.path])
            case "unlink" if event.path in self.now:
                self._change(event.path, "", self.now[event.path])
            case "sync":
                self.now[event.path].data = event.data
            case "sync folder":
                for step in self._pending:
                    step.folders.discard(event.path)
                for step in [step for step in self._pending if not step.folders]:
                    step.apply(self._certain)
                    self._pending.remove(step)

    def _change(self, old: str, new: str, inode: Inode) -> None:
        step = Step({os.path.dirname(path) for path in (old, new) if path}, old, new, inode)
        step.apply(self.now)
        self._pending.append(step)

    def states(self, rng: random.Random) -> Iterator[dict[str, bytes | None]]:
        """Contents of every file by name, with none, all, one and all but one of the uncertain steps, and at random."""
        n = len(self._pending)
        chosen = [set(), set(range(n)), *({i} for i in range(n)), *(set(range(n)) - {i} for i in range(n))]
        chosen += [{i for i in range(n) if rng.random() < 0.5} for _ in range(4 * (n > 2))]
        for steps in map(set, {tuple(sorted(steps)) for steps in chosen}):
            names = dict(self._certain)
            for number in sorted(steps):
                self._pending[number].apply(names)
            yield {name[len(str(self._root)) + 1 :]: names[name].data for name in names if self._is_there(name, names)}

    def _is_there(self, name: str, names: dict[str, Inode]) -> bool:
        parents = (parent.as_posix() for parent in Path(name).relative_to(self._root).parents)
        return all(f"{self._root}/{parent}" in names for parent in parents if parent != ".")


def states_of(disk: Disk, events: list[Event]) -> Iterator[tuple[frozenset[str], dict[str, bytes | None]]]:
    """What was reported, and what may be on the disk, at every moment; each different pair once."""
    rng, told, seen = random.Random(0), frozenset[str](), set()
    for event in [Event("begin", ""), *events]:
        told |= frozenset(event.data.decode().split()) if event.what == "told" else frozenset()
        disk.apply(event)
        for state in disk.states(rng):
            mark = hash((told, frozenset(state.items())))
            if mark not in seen:
                seen.add(mark)
                yield told, state
