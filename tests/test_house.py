"""The house stays as it was drawn: imports point down, faces are faces, and starting is light."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "poise"
FLOORS = {
    "errors": 1,
    "orphans": 1,
    "text": 1,
    "table": 2,
    "recipe": 2,
    "copies": 2,
    "manifest": 3,
    "store": 4,
    "extract": 5,
    "heads": 5,
    "serve": 6,
    "app": 7,
    "demo": 7,
    "commands": 8,
    "cli": 9,
}
HEAVY = (
    "torch",
    "transformers",
    "librosa",
    "lightgbm",
    "sklearn",
    "streamlit",
    "h5py",
    "pandas",
    "scipy",
    "av",
    "rich",
    "ray",
)


def _modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def _name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path) -> set[str]:
    """Modules of poise that a module imports anywhere, typing-only imports included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module and node.module.split(".")[0] == "poise":
                modules = {f"{node.module}.{alias.name}" for alias in node.names}
                known = {_name(module) for module in _modules()}
                found |= {module if module in known else node.module for module in modules}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "poise"}
    return found


def _floor(module: str) -> int:
    parts = module.split(".")
    return FLOORS[parts[1]] if len(parts) > 1 else 0


@pytest.mark.parametrize("path", _modules(), ids=_name)
def test_imports_point_down(path: Path) -> None:
    """A module imports only from lower floors and from its own room; extract and heads never meet."""
    name = _name(path)
    if name == "poise":
        return
    for imported in _imports(path) - {"poise"}:
        same_room = imported.split(".")[1] == name.split(".")[1]
        assert same_room or _floor(imported) < _floor(name), f"{name} imports {imported}"


def test_no_import_goes_in_a_circle() -> None:
    """Following imports from any module never leads back to it, typing-only imports included."""
    graph = {_name(path): _imports(path) for path in _modules()}
    state: dict[str, int] = {}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert state.get(name) != 1, " -> ".join([*trail, name])
        if state.get(name) == 2:
            return
        state[name] = 1
        for imported in graph.get(name, ()):
            visit(imported, (*trail, name))
        state[name] = 2

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("path", [p for p in _modules() if p.name == "__init__.py"], ids=_name)
def test_faces_are_docstring_imports_and_a_sorted_list(path: Path) -> None:
    """Every package's face is short, says what the package is, and every name it lists can be imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "no docstring"
    assert len(path.read_text(encoding="utf-8").splitlines()) < 42
    module = importlib.import_module(_name(path))
    names = getattr(module, "__all__", [])
    assert list(names) == sorted(
        names, key=lambda n: (not n.isupper(), not n[0].isupper(), n)
    )  # constants, classes, functions
    for name in names:
        assert getattr(module, name) is not None


@pytest.mark.parametrize("path", _modules(), ids=_name)
def test_no_module_imports_its_own_face(path: Path) -> None:
    """A module takes names from where they are made, not from its own package's face."""
    name = _name(path)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    if path.name != "__init__.py" and package != "poise":
        assert package not in _imports(path)


@pytest.mark.parametrize(
    "code",
    [
        "import poise",
        "import poise.cli as c, typer.testing as t; assert not t.CliRunner().invoke(c.app, ['-h']).exit_code",
        "import poise.cli as c, typer.testing as t; assert not t.CliRunner().invoke(c.app, ['train', '-h']).exit_code",
    ],
    ids=["import poise", "poise -h", "poise train -h"],
)
def test_starting_loads_no_heavy_package(code: str) -> None:
    """`import poise` and every help page come without torch, transformers, h5py and their like."""
    check = f"{code}\nimport sys\nheavy = [m for m in {HEAVY!r} if m in sys.modules]\nassert not heavy, heavy"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_library_code_asserts() -> None:
    """What a user or a file can cause raises an error that can be caught, also under `python -O`."""
    for path in _modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not isinstance(node, ast.Assert), f"{path}:{node.lineno}"


def test_every_public_name_of_poise_can_be_imported() -> None:
    """The lazy names of `poise` lead somewhere, and an unknown one is an AttributeError."""
    import poise

    assert dir(poise) == poise.__all__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = poise.nothing  # type: ignore[attr-defined]
