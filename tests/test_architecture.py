"""The layers of aurl, from the ground up: a module may import only from layers below its own."""

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "aurl"
LAYERS = (
    {"errors"},
    {"plain"},
    {"latent_config", "objective_config"},
    {"config", "seeding", "files", "interrupts"},
    {"data"},
    {"model", "objectives", "metrics", "drawing", "audio"},  # siblings that cannot see each other
    {"training"},
    {"search"},
    {"analysis"},
    {"reporting"},
    {"studio"},
    {"commands", "latent_commands", "listings", "dry_run", "options"},
    {"submit"},
    {"cli"},
)
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}
EDGES = {  # the only files that may touch the outside world through these packages
    "ray": {
        "training/ray_worker.py",
        *("search/gang.py", "search/slot.py", "search/sweep.py", "search/cluster.py"),
        *("search/jobs.py", "search/placement.py", "search/trainer.py"),
        *("search/scheduling.py", "search/probe.py", "search/room.py", "search/supply.py"),
    },
    "aiohttp": {"search/jobs.py", "studio/server.py"},
    "optuna": {
        *("search/space.py", "search/sampler.py", "search/proof.py"),
        "search/importance.py",
    },
    "PIL": {"drawing/canvas.py"},
    "tensorboard": {"training/media.py", "training/reporters.py"},
    "pyarrow": {"training/store.py"},
    "miditoolkit": {"data/midi.py"},
    "mido": {"data/midi.py"},
    "yaml": {"files.py"},
    "sklearn": {
        "metrics/beta_vae.py",
        "metrics/dci.py",
        "metrics/dci_gbt.py",
        "metrics/explicitness.py",
        "metrics/fitted.py",
        "metrics/infomec.py",
        "metrics/sap.py",
    },
    "zuko": {"model/densities.py"},
}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
each_module = pytest.mark.parametrize(
    "path", MODULES, ids=[str(path.relative_to(PACKAGE)) for path in MODULES]
)


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@each_module
def test_module_imports_only_from_below(path: Path) -> None:
    here = path.relative_to(PACKAGE).with_suffix("").parts[0]
    for name in imports(path):
        if name.startswith("aurl."):
            there = name.split(".")[1]
            assert there == here or RANK[there] < RANK[here], f"{here} must not import {name}"


@each_module
def test_module_leaves_the_outside_world_to_the_edges(path: Path) -> None:
    for name in imports(path):
        allowed = EDGES.get(name.split(".")[0])
        assert allowed is None or str(path.relative_to(PACKAGE)) in allowed, name


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


@cache
def staircase() -> list[str]:
    """The modules in the order of README's map, from the ground up."""
    text = (PACKAGE.parent / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```text\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    names: list[str] = []
    folder = ""
    for line in next(block for block in blocks if "aurl/data/" in block).splitlines():
        if line.startswith("aurl/") and line.endswith("/"):
            folder = line
        elif line.startswith("aurl/"):
            names.append(line.split()[0])
        else:
            names += [folder + name for name in re.findall(r"(?<!\S)\w+\.py(?!\S)", line)]
    return [name.removesuffix(".py").replace("/", ".") for name in names]


def test_readme_maps_every_module_once() -> None:
    assert sorted(staircase()) == sorted(
        name_of(path) for path in MODULES if path.name != "__init__.py"
    )


@each_module
def test_module_imports_only_from_above_its_line_in_the_map(path: Path) -> None:
    """What a function imports when it is called counts, too: there is no circle of any kind."""
    order = staircase()
    if name_of(path) in order:
        below = set(order[order.index(name_of(path)) :])
        assert not below & set(imports(path))


@each_module
def test_module_can_be_imported(path: Path) -> None:
    assert importlib.import_module(name_of(path)).__doc__


@each_module
def test_module_can_be_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@each_module
def test_package_init_holds_a_docstring_only(path: Path) -> None:
    if path.name == "__init__.py":
        body = ast.parse(path.read_text(encoding="utf-8")).body
        assert len(body) == 1
        assert isinstance(body[0], ast.Expr)
