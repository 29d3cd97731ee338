"""Exports: one model as a folder that needs nothing else, and its way back into Python.

``config.yaml`` (complete, re-trainable), ``model.safetensors``, ``vocabulary.json``,
``metrics.json`` (on the test split, which no choice was made on), ``README.md`` (the model card),
``reconstructions.mid`` and ``samples.mid``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from aurl.analysis.subject import played
from aurl.config import RunConfig
from aurl.data.arrange import in_sequence
from aurl.data.batches import TokenStore
from aurl.data.context import in_words, parse_context
from aurl.data.corpus import Corpus
from aurl.data.midi import write_midi
from aurl.data.piece import Piece
from aurl.data.vocabularies import vocabulary_from
from aurl.data.vocabulary import Vocabulary
from aurl.errors import ConfigError, DataError, SweepError
from aurl.files import atomic_folder, read_json, write_json, write_text
from aurl.latent_config import ContextName
from aurl.model.generation import BLOCK, Sampling, prior_block
from aurl.model.vae import Vae
from aurl.plain import Plain
from aurl.reporting.model_card import model_card
from aurl.reporting.musical import musical_metrics
from aurl.search.provenance import read_config, write_config
from aurl.search.ranking import TrialStatus, ranked, read_trials
from aurl.seeding import torch_generator
from aurl.training import checkpoint
from aurl.training.evaluate import Evaluator
from aurl.training.place import place_of

EXAMPLES = 8
LEAST_EFFECT_NATS = 0.05
"""Divergence from the prior without a context from which asking for it means something."""


ANY = Sampling(temperature=1.0)


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A model with what is needed to use it."""

    model: Vae
    """In float64 on the CPU: its metrics then do not depend on threads or processors."""

    config: RunConfig
    max_tokens: int
    made_by: Plain

    @property
    def n_bars(self) -> int:
        """Bars of a window."""
        return self.model.n_bars

    @property
    def vocabulary(self) -> Vocabulary:
        """The model's tokens."""
        return self.model.vocabulary

    def pieces(
        self,
        z: Tensor,
        sampling: Sampling,
        seed: int = 0,
        prompt: Int[Tensor, " prompt"] | None = None,
    ) -> list[Piece]:
        """Decode latent vectors to pieces of ``n_bars`` bars, which no note sounds past."""
        return played(
            self.model,
            z,
            max_tokens=self.max_tokens,
            sampling=sampling,
            generator=torch_generator(seed, "generation"),
            prompt=prompt,
        )

    def samples(
        self,
        count: int,
        *,
        sampling: Sampling = ANY,
        seed: int = 0,
        given: Mapping[ContextName, int] | None = None,
        prompt: Int[Tensor, " prompt"] | None = None,
    ) -> list[Piece]:
        """Pieces decoded from draws of the prior.

        Args:
            count: How many.
            sampling: How tokens are drawn; by default from the model's distribution.
            seed: Of all draws; more pieces are the same ones and others.
            given: Classes of the musical context that is asked for; the rest of the context is as
                frequent as in the training music with what is asked for.
            prompt: The tokens that each piece begins with.

        Raises:
            ConfigError: If the training music has no window with all that is asked for.
            DataError: If the prior draws what is no number.
        """
        blocks = [self._codes(seed, index, given) for index in range(-(-count // BLOCK))]
        return self.pieces(torch.cat(blocks)[:count], sampling, seed, prompt)

    def _codes(
        self, seed: int, block: int, given: Mapping[ContextName, int] | None
    ) -> Float[Tensor, "code coordinate"]:
        """A block of draws of the prior: always as many, so that the first do not change."""
        table = self.model.prior.context
        context = None
        if given and table is not None:
            context = table.draw(BLOCK, given, torch_generator(seed, "context", block))
        codes = prior_block(self.model, seed, block, context)
        if not codes.isfinite().all():
            raise DataError(
                "the model cannot be sampled: its prior draws NaN or infinity. It has diverged in "
                "training, or is damaged."
            )
        return codes

    def effects(self, given: Mapping[ContextName, int]) -> dict[ContextName, float]:
        """How far each context moves the prior, in nats.

        Raises:
            ConfigError: If the training music has no window with all of ``given``.
        """
        generator = torch_generator(0, "effect")
        return {name: self.model.prior.effect_nats(given, name, generator) for name in given}


def asked_for(trained: TrainedModel, text: str) -> dict[ContextName, int]:
    """Read a musical context such as ``key=Dm,metre=6/8`` that a model can draw from.

    Raises:
        ConfigError: If it is not readable, not what the model was trained with, not in its
            training music, or without effect on its prior.
    """
    given = parse_context(text, trained.config.latent.context)
    table = trained.model.prior.context
    assert table is not None  # parse_context refuses all of it for a model without contexts
    table.check(given)
    for name, effect in trained.effects(given).items():
        if not effect >= LEAST_EFFECT_NATS:
            raise ConfigError(
                f"--context {name} must have an effect, got {in_words(name, given[name])}: it "
                f"moves the prior of this model by {effect:.3f} nats. Train it for longer."
            )
    return given


def load_export(folder: Path) -> TrainedModel:
    """Load an exported model onto the CPU.

    Raises:
        DataError: If the folder is not an export, or a file of it is damaged.
    """
    names = ("config.yaml", "model.safetensors", "vocabulary.json")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise DataError(
            f"EXPORT must be a folder made by `aurl export`, got {folder}: "
            f"{missing[0]} is missing."
        )
    config, made_by = read_config(folder / "config.yaml")
    about = _read_about(folder / "vocabulary.json")
    vocabulary = vocabulary_from(about["vocabulary"])
    model = _made(config, vocabulary, about["n_bars"])
    grammar = vocabulary.grammar(1, about["n_bars"])
    grammar.advance(torch.tensor([vocabulary.start]))
    try:
        grammar.allowed(about["max_tokens"] - 1)
    except ValueError:
        raise DataError(
            f"{folder / 'vocabulary.json'} must hold max_tokens for {about['n_bars']} bars, "
            f"got {about['max_tokens']}. It is damaged."
        ) from None
    checkpoint.load_weights(folder / "model.safetensors", model)
    return TrainedModel(
        model=model.double().eval(),
        config=config,
        max_tokens=about["max_tokens"],
        made_by=made_by,
    )


def _read_about(path: Path) -> Plain:
    """What an export says of its tokens, and of windows in bars and tokens."""
    about: Any = read_json(path)
    kinds = {"vocabulary": dict, "n_bars": int, "max_tokens": int}
    given: Plain = cast("Plain", about) if isinstance(about, dict) else {}
    wrong = [key for key, kind in kinds.items() if type(given.get(key)) is not kind]
    if not wrong:
        wrong = [key for key in ("n_bars", "max_tokens") if not 0 < given[key] < 10**6 - 1]
    if wrong:
        raise DataError(f"{path} must hold {', '.join(wrong)}. It is damaged.")
    return given


def _made(config: RunConfig, vocabulary: Vocabulary, n_bars: int) -> Vae:
    """The model of a configuration, before its weights.

    Raises:
        DataError: If it does not fit into memory.
    """
    try:
        return Vae(config, vocabulary, n_bars)
    except RuntimeError as error:
        raise DataError(
            "the model must fit into the memory of this machine, and by its configuration it does "
            f"not: d_model {config.model.d_model}, {n_bars} bars."
        ) from error


def trained_trial(folder: Path, corpus: Corpus) -> TrainedModel:
    """The model of a run's last checkpoint.

    Raises:
        DataError: If the run has no usable checkpoint.
    """
    config, made_by = read_config(folder / "config.yaml")
    model = _made(config, corpus.vocabulary, corpus.n_bars)
    step = checkpoint.load_run_weights(place_of(folder / "checkpoint"), model)
    return TrainedModel(
        model=model.double().eval(),
        config=config,
        max_tokens=corpus.max_tokens,
        made_by={**made_by, "step": step},
    )


def trial_at_rank(sweep: Path, rank: int) -> TrialStatus:
    """The completed trial at a rank of the leaderboard.

    Raises:
        SweepError: If there is none.
    """
    completed = [place for place in ranked(read_trials(sweep)) if place.rank is not None]
    if not 1 <= rank <= len(completed):
        raise SweepError(
            f"--rank must be in 1..{len(completed)}, the completed trials of {sweep}, got {rank}."
            + ("" if completed else " No trial has completed: see `aurl status`.")
        )
    return completed[rank - 1].trial


def test_metrics(trained: TrainedModel, corpus: Corpus) -> dict[str, float]:
    """Every metric on the test split of the corpus that the model was trained on.

    Raises:
        DataError: If the corpus is another one.
    """
    check_windows(trained, corpus)
    store = TokenStore(corpus, context=trained.config.latent.context)
    evaluator = Evaluator(corpus, store, trained.config, split="test")
    samples = trained.samples(trained.config.evaluation.samples)
    return {
        **evaluator.evaluate(trained.model, final=True),
        **musical_metrics(samples, corpus, evaluator.windows),
    }


def check_corpus(config: RunConfig, corpus: Corpus) -> None:
    """Refuse a corpus that is not the one a configuration names by its hash.

    Raises:
        DataError: If it is another one.
    """
    wanted = config.data.fingerprint
    if wanted and wanted != corpus.fingerprint:
        raise DataError(
            f"--data must be the corpus of the configuration ({config.data.corpus}, "
            f"{wanted[:12]}), got {corpus.name}, {corpus.fingerprint[:12]}. Its metrics cannot be "
            "compared on other music."
        )


def check_windows(trained: TrainedModel, corpus: Corpus) -> None:
    """Refuse a corpus that a model cannot read, or that is not its own.

    Raises:
        DataError: If it is another one.
    """
    check_corpus(trained.config, corpus)
    if corpus.vocabulary != trained.vocabulary or corpus.n_bars != trained.n_bars:
        raise DataError(
            f"--data must be windows of {trained.n_bars} bars in the model's tokens, "
            f"got {corpus.name} of {corpus.n_bars} in {corpus.vocabulary}."
        )


def export(
    trained: TrainedModel, corpus: Corpus, out: Path, *, extra: Mapping[str, Any]
) -> dict[str, float]:
    """Write an export folder, whole or not at all; returns its test metrics.

    Args:
        trained: The model.
        corpus: The music it was trained on.
        out: The folder, which must not exist.
        extra: What ``config.yaml`` says under ``made_by``.

    Raises:
        SweepError: If ``out`` exists.
    """
    if out.exists():
        raise SweepError(f"--out must be new, got {out}, which exists. Choose another folder.")
    return replace_export(trained, corpus, out, extra=extra)


def replace_export(
    trained: TrainedModel, corpus: Corpus, out: Path, *, extra: Mapping[str, Any]
) -> dict[str, float]:
    """Write an export folder in place of the one that may be there; as :func:`export`."""
    metrics = test_metrics(trained, corpus)
    vocabulary = {
        "vocabulary": trained.vocabulary.to_dict(),
        "n_bars": trained.n_bars,
        "max_tokens": trained.max_tokens,
    }
    with atomic_folder(out) as folder:
        write_config(folder / "config.yaml", trained.config, extra)
        checkpoint.save_weights(folder / "model.safetensors", trained.model)
        write_json(folder / "vocabulary.json", vocabulary)
        write_json(folder / "metrics.json", {"split": "test", "metrics": finite(metrics)})
        write_midi(reconstructions(trained, corpus), folder / "reconstructions.mid")
        samples = in_sequence(trained.samples(EXAMPLES), bars_each=trained.n_bars)
        write_midi(samples, folder / "samples.mid")
        write_text(
            folder / "README.md", model_card(trained.config, corpus, finite(metrics), extra)
        )
    return metrics


def reconstructions(trained: TrainedModel, corpus: Corpus, count: int = EXAMPLES) -> Piece:
    """Held-out windows, each followed by what the model makes of it."""
    windows = corpus.indices("test")
    chosen = windows[np.linspace(0, len(windows) - 1, min(count, len(windows))).astype(int)]
    store = TokenStore(corpus)
    with torch.no_grad():
        z = trained.model.encode(store.padded(torch.from_numpy(chosen))).mean
    decoded = trained.pieces(z, Sampling())
    pairs = [
        piece
        for window, made in zip(chosen, decoded, strict=True)
        for piece in (trained.vocabulary.decode(corpus.window(int(window))), made)
    ]
    return in_sequence(pairs, bars_each=trained.n_bars)


def finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics that JSON can hold."""
    return {name: value for name, value in metrics.items() if np.isfinite(value)}
