"""What a pickle of ``torch.save`` would call, and how much it makes of little, told without unpickling it.

torch's own reader for weights alone runs no foreign code, but what it calls can fill the memory (``bytearray(n)``), and
tuples within tuples that are the key of a dict can take for ever or the whole stack. Saved weights need none of that.
"""

from __future__ import annotations

import pickletools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from poise.errors import BundleError

MAX_BYTES = 1 << 18

_ORDERED_DICT = "collections.OrderedDict"
_CALLED = {_ORDERED_DICT, "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter"}
_STORAGES = (
    "Float", "Half", "BFloat16", "Double", "ComplexFloat", "ComplexDouble",
    "Long", "Int", "Short", "Char", "Byte", "Bool",
)  # fmt: skip
_DTYPES = ("float32", "float16", "bfloat16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")
_NAMED = {*(f"torch.{kind}Storage" for kind in _STORAGES), *(f"torch.{dtype}" for dtype in _DTYPES)}
_PUSHES = {
    "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE",
    "SHORT_BINSTRING", "EMPTY_LIST", "EMPTY_DICT",
}  # fmt: skip
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_POPS = {"APPEND": 1, "SETITEM": 2, "BUILD": 1}

_BETWEEN_MARKS = ("TUPLE", "APPENDS", "SETITEMS")

_DEEPEST = 20
_MOST_PARTS = 1_000_000
_MOST_BUILDS = 1000
_DAMAGED = "its list of weights is damaged, or torch.save did not write it"


def list_objects(content: bytes) -> list[str]:
    """Names of the classes and functions that unpickling would need, but for those that saved weights need.

    Parameters
    ----------
    content : bytes
        ``data.pkl`` of a file that ``torch.save`` wrote.

    Returns
    -------
    list of str
        Dotted, each once. If there is none, it holds plain values and tensors alone, and not too many.

    Raises
    ------
    BundleError
        It is no such pickle, is too long, or would make very much of little.
    """
    if len(content) > MAX_BYTES:
        raise BundleError(f"its list of weights is {len(content):,} bytes, expected at most {MAX_BYTES:,}")
    steps = list(_read_steps(content))
    named = dict.fromkeys(str(argument).replace(" ", ".") for name, argument in steps if name in ("GLOBAL", "INST"))
    foreign = [name for name in named if name not in _CALLED | _NAMED]
    if not foreign and any(name == "STACK_GLOBAL" for name, _ in steps):
        return ["objects in another pickle protocol than torch's"]
    if not foreign:
        _scan(steps)
    return foreign


def _read_steps(content: bytes) -> Iterator[tuple[str, Any]]:
    try:
        for instruction, argument, _ in pickletools.genops(content):
            yield instruction.name, argument
    except (ValueError, OverflowError, DeprecationWarning) as error:  # where warnings are errors, one of bad escapes
        raise BundleError(_DAMAGED) from error


@dataclass(frozen=True)
class _Value:
    """What is known of a value: its name if it is a class or function; of a tuple how much hangs from it, how deep."""

    name: str = ""
    parts: int = 1
    depth: int = 0


_PLAIN = _Value()
_NOTHING = _Value(depth=1)


def _scan(steps: list[tuple[str, Any]]) -> None:
    """Go through the instructions as an unpickler that makes nothing."""
    stack = _Stack()
    try:
        for name, argument in steps:
            stack.step(name, argument)
    except (IndexError, KeyError) as error:
        raise BundleError(_DAMAGED) from error


@dataclass(eq=False)
class _Stack:
    """The stack of that unpickler."""

    values: list[_Value] = field(default_factory=list)
    below: list[list[_Value]] = field(default_factory=list)
    memo: dict[int, _Value] = field(default_factory=dict)
    n_parts: int = 0
    n_builds: int = 0

    def step(self, name: str, argument: Any) -> None:
        """One instruction."""
        if name in _PUSHES:
            self.values.append(_PLAIN)
        elif name in _TUPLES:
            self._put_tuple(self._pop(_TUPLES[name]))
        elif name in _POPS:
            self._pop(_POPS[name])
            self.n_builds += name == "BUILD"
        elif name in _BETWEEN_MARKS:
            items, self.values = self.values, self.below.pop()
            if name == "TUPLE":
                self._put_tuple(items)
        elif name == "MARK":
            self.below.append(self.values)
            self.values = []
        else:
            self._step_aside(name, argument)
        if self.n_builds > _MOST_BUILDS or self.n_parts > _MOST_PARTS:
            raise BundleError(f"{_DAMAGED}: it would make very much of little")

    def _step_aside(self, name: str, argument: Any) -> None:
        """What names, remembers or calls something."""
        if name == "GLOBAL":
            self.values.append(_Value(name=argument.replace(" ", ".")))
        elif name == "REDUCE":
            self._call()
        elif name == "BINPERSID":
            self.values[-1] = _PLAIN
        elif name in ("BINGET", "LONG_BINGET"):
            self._put(self.memo[argument])
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.values[-1]
        elif name != "STOP" and (name, argument) != ("PROTO", 2):
            raise BundleError(f"{_DAMAGED}: it has the instruction {name}")

    def _call(self) -> None:
        """Only what saved weights call: an empty dict, a tensor, a parameter."""
        (arguments,) = self._pop(1)
        called = self.values[-1].name
        if called not in _CALLED or (called == _ORDERED_DICT and arguments != _NOTHING):
            raise BundleError(f"{_DAMAGED}: it calls {called or 'what is no function'} with arguments of its own")
        self.values[-1] = _PLAIN

    def _put_tuple(self, items: list[_Value]) -> None:
        parts, depth = sum(one.parts for one in items), max((one.depth for one in items), default=0)
        self._put(_Value(parts=1 + parts, depth=1 + depth))

    def _put(self, value: _Value) -> None:
        if value.depth > _DEEPEST:
            raise BundleError(f"{_DAMAGED}: it holds tuples within tuples without end")
        self.n_parts += value.parts if value.depth else 0
        self.values.append(value)

    def _pop(self, n: int) -> list[_Value]:
        if len(self.values) < n:
            raise BundleError(_DAMAGED)
        items = self.values[len(self.values) - n :]
        del self.values[len(self.values) - n :]
        return items
