"""Proof that a search space makes runs: many configurations are drawn, and each must be one.

Each draw must make a valid configuration, and its model must be possible on the corpus. A few
settings decide that: those of encoder and decoder, and those of the prior, which is built beside
them and knows nothing of them. Each distinct one of either is built once, without values.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace

import optuna

from aurl.config import RunConfig
from aurl.data.corpus import Corpus
from aurl.errors import ConfigError
from aurl.latent_config import LatentConfig, PriorConfig
from aurl.model.latents import LatentLayout
from aurl.model.priors import Prior
from aurl.model.vae import outline, without_values
from aurl.objective_config import WEIGHTS
from aurl.search.distributions import Value
from aurl.search.space import Space
from aurl.training.fits import check_music


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What many draws from a space came to."""

    samples: list[dict[str, Value]]
    """The parameters of each draw."""

    trunks: int
    """Distinct encoders and decoders among them, each of which was built."""

    priors: int
    """Distinct priors among them, each of which was built."""

    problems: list[str]
    """One line for each draw that makes no run, by the parameters that it takes; often none."""

    @property
    def n_valid(self) -> int:
        """Draws that make a run."""
        return len(self.samples) - len(self.problems)


def prove(space: Space, corpus: Corpus, *, samples: int) -> Proof:
    """Draw ``samples`` random configurations and check each.

    Args:
        space: What may vary.
        corpus: The music that a run would be of.
        samples: How many to draw; seed and sampler are always the same.
    """
    parts = _Parts(corpus)

    def check(values: Mapping[str, Value]) -> None:
        parts.check(space.config_of(values))

    drawn = list(draws(space, samples))
    problems = [problem for values in drawn if (problem := _problem(values, check))]
    return Proof(
        samples=drawn, trunks=len(parts.trunks), priors=len(parts.priors), problems=problems
    )


def draws(
    space: Space, count: int, seed: int = 0, *, asked: Mapping[str, Value] | None = None
) -> Iterator[dict[str, Value]]:
    """Parameters of random configurations, drawn by Optuna as a sweep would draw them.

    All of them have the values that are ``asked`` for, by Optuna's names.
    """
    optuna.logging.disable_default_handler()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for _ in range(count):
        if asked:
            study.enqueue_trial(dict(asked))
        yield space.suggest(study.ask())


class _Parts:
    """What was found to be possible so far; the rest is tried anew, for its message."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._asked: set[Hashable] = set()
        self.trunks: set[Hashable] = set()
        self.priors: set[Hashable] = set()

    def check(self, config: RunConfig) -> None:
        """Refuse what :func:`~aurl.training.fits.check_fits` refuses, with its message."""
        trunk, prior = _without_prior(config), config.latent
        model = replace(config.model, encoder_skip=_sign(config.model.encoder_skip))
        if (key := (replace(model, token_dropout=0.0), _scaled(trunk.latent))) not in self.trunks:
            outline(trunk, self._corpus.vocabulary, self._corpus.n_bars)
            self.trunks.add(key)
        if (key := replace(_scaled(prior), posterior="standard", gamma=None)) not in self.priors:
            with without_values():
                Prior(LatentLayout.of(prior.levels, self._corpus.n_bars), prior)
            self.priors.add(key)
        if (key := _asked(trunk)) not in self._asked:
            check_music(config, self._corpus, n_workers=1)
            self._asked.add(key)


def _without_prior(config: RunConfig) -> RunConfig:
    """The configuration with a standard normal prior in place of its own."""
    levels = tuple(replace(level, prior=None) for level in config.latent.levels)
    latent = replace(config.latent, levels=levels, prior=PriorConfig(), top_down=False)
    return replace(config, latent=latent)


def _asked(config: RunConfig) -> Hashable:
    """All of a configuration that ``check_music`` looks at."""
    terms = config.objective.regularizers
    return (
        _scaled(config.latent),
        config.augmentation,
        (config.training.batch_size, config.training.accumulate),
        tuple(_sign(getattr(terms, name)) for name in WEIGHTS),
        tuple((entry.name, entry.dimension) for entry in terms.attributes),
    )


def _scaled(latent: LatentConfig) -> LatentConfig:
    """Without what builds nothing: the size of gamma, when levels open and what is free there."""
    levels = tuple(replace(level, opens=0.0, free_nats=None) for level in latent.levels)
    return replace(latent, levels=levels, gamma=None if latent.gamma is None else 1.0)


def _sign(weight: float) -> float:
    """Of a weight or a share, whether it is zero: its size builds nothing."""
    return 0.5 if weight else 0.0


def _problem(values: Mapping[str, Value], check: Callable[[Mapping[str, Value]], None]) -> str:
    """What is wrong with a draw, and the fewest of its parameters that it is wrong with."""
    said = _refusal(values, check)
    if not said:
        return ""
    # Of two that exist only together neither can be left out alone, so first all are.
    needed = {} if _refusal({}, check) == said else dict(values)
    for key in tuple(needed):
        fewer = {other: value for other, value in needed.items() if other != key}
        if _refusal(fewer, check) == said:
            needed = fewer
    with_what = ", ".join(f"{key}={value}" for key, value in needed.items())
    return f"{said} It was drawn with {with_what}." if needed else said


def _refusal(values: Mapping[str, Value], check: Callable[[Mapping[str, Value]], None]) -> str:
    try:
        check(values)
    except ConfigError as error:
        return str(error)
    return ""
