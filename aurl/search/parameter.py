"""One of the settings that a search space varies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from aurl.errors import ConfigError
from aurl.plain import Plain, dotted, suggestion
from aurl.search.distributions import Choice, Distribution, Value, holds

Role: TypeAlias = Literal["scientific", "nuisance"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One varied key of the configuration."""

    key: str
    distribution: Distribution
    role: Role
    when: Mapping[str, tuple[Value, ...]] = field(default_factory=dict[str, tuple[Value, ...]])
    """Other parameters and the values of theirs for which this one exists."""

    alternative: int = 0
    """Which of the key's ranges this is, if it has several under different conditions."""

    variants: Mapping[str, Plain] = field(default_factory=dict[str, Plain])
    """What its values stand for, if they are names of several settings: these, by dotted key.

    A section that names a ``schedule`` or a ``kind`` is one: it takes the place of another's.
    """

    @property
    def name(self) -> str:
        """What Optuna calls it: the key, and ``key (2)`` for its second range."""
        return f"{self.key} ({self.alternative + 1})" if self.alternative else self.key

    @property
    def settings(self) -> set[str]:
        """The settings of a configuration that it changes, by dotted key."""
        if not self.variants:
            return {self.key}
        return {key for settings in self.variants.values() for key in dotted(settings)}

    def changes(self, value: Value) -> Plain:
        """What a value of it makes of these."""
        return dict(self.variants[str(value)]) if self.variants else {self.key: value}

    def exists(self, chosen: Mapping[str, Any]) -> bool:
        """Whether the values chosen so far call for this parameter."""
        return all(chosen.get(key) in values for key, values in self.when.items())

    def value_in(self, params: Mapping[str, Any]) -> Value | None:
        """What a trial with ``params`` has of it; None if nothing, or what it cannot be here."""
        value = params.get(self.key)
        if value is None or not self.exists(params) or not holds(self.distribution, value):
            return None
        return value


def compared(
    key: Any,  # noqa: ANN401
    parameters: Sequence[Parameter],
    held: Mapping[str, Any],
) -> Parameter | None:
    """The parameter that a space names to be compared; None if it names none, or it is held.

    Raises:
        ConfigError: If it is no choice that every trial has.
    """
    if key is None or key in [*held]:
        return None
    found = [each for each in parameters if each.key == key]
    if not found:
        known = [each.key for each in parameters]
        hint = suggestion(key, known) if isinstance(key, str) else " Name one."
        raise ConfigError(f"compare must be a parameter that is searched, got {key!r}.{hint}")
    if found[0].when or not isinstance(found[0].distribution, Choice):
        raise ConfigError(
            f"compare must be a choice that has no conditions, got {key}, which is another kind. "
            "Name a choice, or leave it out."
        )
    return found[0]
