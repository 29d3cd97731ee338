"""How a search space looks in a terminal: its parameters as a tree, and draws from it.

Text from a file is never read as markup, nor by the terminal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.text import Text
from rich.tree import Tree

from aurl.plain import dotted, many, printable
from aurl.search.distributions import Value, in_words
from aurl.search.grid import n_cells
from aurl.search.parameter import Parameter
from aurl.search.space import Space


def parameter_tree(space: Space) -> Tree:
    """What may vary, by role; what exists under a condition only hangs below what decides it."""
    tree = Tree(Text(printable(space.question), style="bold"))
    for role in ("scientific", "nuisance"):
        branch = tree.add(Text(role, style="cyan"))
        nodes: dict[str, Tree] = {}
        for parameter in space.parameters:
            if parameter.role == role:
                last = next(
                    (nodes[key] for key in reversed([*parameter.when]) if key in nodes), None
                )
                nodes[parameter.key] = _add(parameter, last or branch)
        if not nodes:
            branch.add(Text("nothing", style="dim"))
    if space.fixed:
        branch = tree.add(Text("fixed", style="cyan"))
        for key, value in space.fixed.items():
            branch.add(Text(printable(f"{key}: {'nothing' if value is None else value}")))
    for line in _how(space):
        tree.add(Text(line))
    return tree


def _add(parameter: Parameter, branch: Tree) -> Tree:
    """A parameter below a branch, and below it what its variants set."""
    node = branch.add(Text(printable(_line(parameter))))
    for name, settings in parameter.variants.items():
        if settings:
            said = ", ".join(f"{key}={value}" for key, value in dotted(settings).items())
            node.add(Text(printable(f"{name}: {said}"), style="dim"))
    return node


def _how(space: Space) -> list[str]:
    """How a space is searched."""
    budget, sampler, scheduler = space.budget, space.sampler, space.scheduler
    how = " by groups" if sampler.groups and sampler.name == "tpe" else ""
    if sampler.name == "grid":
        how = f" of {many(n_cells(space.parameters), 'configuration')}"
    lines = [
        f"{budget.trials} trials of {budget.steps_per_trial} steps, proposed by "
        f"{sampler.name}{how}, stopped by {scheduler.name}"
    ]
    if space.compared is not None:
        key = printable(space.compared.key)
        turns = f"{key} is compared: its values take turns, each stopped only by its own"
        by_order = f"{key} is compared: each of its values is stopped only by its own"
        lines.append(by_order if sampler.name == "grid" else turns)
    if space.seeds is not None:
        count = space.seeds.finalists
        best = f"{count} best" if count > 1 else "best"
        best += " of each of its values" if space.compared is not None else ""
        lines.append(
            f"then the {best}, with {space.seeds.runs} other seeds each: "
            f"{many(space.n_runs - budget.trials, 'run')} at most"
        )
    return lines


def space_record(space: Space) -> dict[str, Any]:
    """The same as plain data."""
    return {
        "question": space.question,
        "parameters": [
            {
                "key": parameter.key,
                "role": parameter.role,
                "values": in_words(parameter.distribution),
                **({"variants": parameter.variants} if parameter.variants else {}),
                "when": {key: list(values) for key, values in parameter.when.items()},
            }
            for parameter in space.parameters
        ],
        "fixed": space.fixed,
        "compare": space.compared and space.compared.key,
        "seeds": space.seeds and asdict(space.seeds),
    }


def sample_lines(samples: Sequence[Mapping[str, Value]]) -> list[str]:
    """Each draw as a heading and one line a parameter."""
    lines: list[str] = []
    for number, values in enumerate(samples, start=1):
        lines.append(f"sample {number}")
        lines += [printable(f"  {key}: {_short(value)}") for key, value in values.items()]
    return lines


def _line(parameter: Parameter) -> str:
    conditions = [
        f"{key} is {' or '.join(map(_short, values))}" for key, values in parameter.when.items()
    ]
    when = f"  if {' and '.join(conditions)}" if conditions else ""
    return f"{parameter.key}: {in_words(parameter.distribution)}{when}"


def _short(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
