"""The training loop: batches in, reported metrics out. It knows nothing of Ray."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from aurl.config import RunConfig
from aurl.data.batches import TokenStore, TrainingBatches, check_batches
from aurl.data.context import check_context
from aurl.data.corpus import Corpus
from aurl.errors import ConfigError
from aurl.model.latents import LatentLayout
from aurl.model.vae import Vae, outline
from aurl.objectives.controllers import schedule_of
from aurl.objectives.objective import Terms, averaged, level_rates, regularized
from aurl.seeding import seeded, torch_generator
from aurl.training import checkpoint
from aurl.training.elbo import Elbo, check_precision, compile_for
from aurl.training.evaluate import Evaluator
from aurl.training.look import Look, look_at
from aurl.training.messages import Row
from aurl.training.optimizer import adamw, learning_rate
from aurl.training.regularization import Regularization, check_regularizers
from aurl.training.workers import Workers

Report: TypeAlias = Callable[[Sequence[Row]], bool]
"""Takes the rows since the last report; answers whether to go on."""

PRIOR_DRAWS = 512
"""Draws that a learned prior's covariances are estimated from in a step that asks for them."""


class DivergedError(FloatingPointError):
    """The objective stopped being finite; the weights are those before the step."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one run computes, and where it keeps its checkpoint."""

    config: RunConfig
    corpus: Corpus
    checkpoint_folder: checkpoint.Place
    show: Callable[[Look], None] | None = None
    """Given what there is to see and hear after the last evaluation, before its report."""


def train(run: Run, *, workers: Workers, report: Report) -> bool:
    """Train one VAE from its last checkpoint, or from its seed, to its last step or to a stop.

    Each evaluation is reported, then the checkpoint is written: what a checkpoint holds has been
    reported before.

    Args:
        run: Configuration, music and checkpoint folder.
        workers: The workers that share each batch; every one of them makes this call.
        report: Called on every worker after each evaluation; only the first worker's rows count.

    Returns:
        True if the run reached its last step, False if it was told to stop.

    Raises:
        DivergedError: If the objective is not finite at a step.
        ConfigError: If the configuration does not fit the corpus or the workers.
    """
    config = run.config
    steps = config.training.steps
    trainer = Trainer(run, workers)
    evaluator = Evaluator(run.corpus, trainer.store, config, split="val")
    started, first = perf_counter(), trainer.step
    evaluation_s = 0.0
    rows: list[Row] = []
    while trainer.step < steps:
        terms = trainer.take_step()
        last = trainer.step == steps
        if last or trainer.step % config.training.log_every == 0:
            rows.append(trainer.row(terms))
        if last or trainer.step % config.evaluation.every == 0:
            elapsed = perf_counter() - started
            metrics: dict[str, float] = {
                "step": trainer.step,
                "time/step_s": elapsed / (trainer.step - first),
                "throughput/tokens_per_s": trainer.tokens / elapsed,
                "memory/peak_gib": workers.peak_gib(),
            }
            if workers.rank == 0:
                began = perf_counter()
                metrics |= evaluator.evaluate(trainer.model, final=last)
                metrics |= shown(run, trainer, evaluator, last=last)
                evaluation_s += perf_counter() - began
                metrics["time/evaluation_s"] = evaluation_s
            go_on = report([*rows, metrics])
            rows = []
            if workers.rank == 0:
                trainer.save()
            if not go_on and not last:
                return False
            started, first, trainer.tokens = perf_counter(), trainer.step, 0
    return True


def shown(run: Run, trainer: "Trainer", evaluator: Evaluator, *, last: bool) -> dict[str, float]:
    """The rate of each dimension in the evaluation just made; the last one is also looked at."""
    if evaluator.seen is None:
        return {}
    if last and run.show is not None:
        look = look_at(trainer.model, evaluator.seen)
        if look is not None:
            run.show(look)
    return evaluator.seen.rates(trainer.model.layout)


class Trainer:
    """Model, optimizer and data of one run on one worker, at one step.

    Args:
        run: Configuration, music and checkpoint folder.
        workers: The workers that share each batch.
    """

    def __init__(self, run: Run, workers: Workers) -> None:
        config, device = run.config, workers.device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        self.run = run
        self.workers = workers
        self.store = TokenStore(
            run.corpus,
            device,
            context=config.latent.context,
            few_widths=config.training.compile,
        )
        self.batches = TrainingBatches(
            run.corpus,
            self.store,
            config.augmentation,
            batch_size=config.training.batch_size,
            seed=config.seed,
            worker=(workers.rank, workers.size),
        )
        with seeded(config.seed, "initialisation"):
            self.model = Vae(config, run.corpus.vocabulary, run.corpus.n_bars)
        if self.model.prior.context is not None:
            self.model.prior.context.teach(
                self.store.context[torch.from_numpy(self.batches.windows)],
                transpose=config.augmentation.transpose,
                tempo=config.augmentation.tempo,
            )
        self.model.to(device)
        if self.model.mean_norm is not None:
            self.model.mean_norm.share_batches(workers.mean_with_gradient, workers.size)
        layout = self.model.layout
        self.level = layout.level.to(device)
        self.optimizer = adamw(self.model, config.optimizer)
        self.schedule = schedule_of(config.objective.beta, config.training.steps)
        self.step = checkpoint.restore(
            run.checkpoint_folder,
            model=self.model,
            optimizer=self.optimizer,
            schedule=self.schedule,
        )
        self.beta, self.gate = self.schedule.at(self.step), self._skip_gate()
        self.regularization = Regularization(config, run.corpus, layout, workers)
        check_parts(config, workers.size)
        check_precision(config, device)
        self.elbo = Elbo(self.model, config, workers)
        if config.training.compile:
            compile_for(self.elbo, device, replay=config.training.accumulate == 1)
        self.parallel = workers.parallel(self.elbo)
        self.mean_tokens = float(run.corpus.mean_tokens)
        self.tokens = 0
        """Tokens predicted since the last evaluation, by all workers; padding is none."""

    def take_step(self) -> Terms:
        """One optimizer step on the batch of this step.

        Raises:
            DivergedError: Before the update, if the objective is not finite on any worker.
        """
        config = self.run.config
        steps, parts = config.training.steps, config.training.accumulate
        tokens, context = self.batches.with_context(self.step)
        noise = self.workers.share(self._noise()).to(tokens.device)
        keep = self._keep(tokens)
        self.beta, self.gate = self.schedule.at(self.step), self._skip_gate()
        self.optimizer.zero_grad(set_to_none=True)
        if self.elbo.replays:
            torch.compiler.cudagraph_mark_step_begin()
        done: list[Terms] = []
        for part in range(parts):
            rows = slice(part, None, parts)
            with self.workers.exchange(self.parallel, gradients=part == parts - 1):
                kept = None if keep is None else keep[rows]
                terms = self._terms(tokens[rows], noise[rows], kept, context[rows])
                (terms.objective / (parts * self.mean_tokens)).backward()
            done.append(terms)
        terms = averaged(done)
        seen = self.workers.mean(terms.seen())
        if not torch.isfinite(seen[0]):
            raise DivergedError(f"objective is not finite at step {self.step + 1}.")
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.optimizer.gradient_clip)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(config.optimizer, self.step, steps)
        self.optimizer.step()
        self.schedule.observe(kl=float(seen[1]), reconstruction=float(seen[2]))
        self.tokens += self.batches.tokens_at(self.step)
        self.step += 1
        return terms

    def _terms(self, tokens: Tensor, noise: Tensor, keep: Tensor | None, context: Tensor) -> Terms:
        places = self.model.vocabulary.positions(tokens)
        weights = self.beta, self.gate
        if self.run.config.training.compile:
            weights = torch.tensor(weights, dtype=noise.dtype, device=noise.device).unbind()
        terms, posterior = self.parallel(tokens, places, noise, keep, context, weights)
        regularizers = self.regularization.terms(
            posterior, noise, self.batches.windows_at(self.step), self._prior_draws
        )
        return regularized(terms, regularizers)

    @torch.no_grad()
    def _prior_draws(self) -> Tensor | None:
        if self.model.prior.is_standard:
            return None
        generator = torch_generator(self.run.config.seed, "prior draws", self.step)
        return self.model.sample_prior(PRIOR_DRAWS, generator=generator)

    def _noise(self) -> Tensor:
        config = self.run.config
        return torch.randn(
            config.training.batch_size,
            self.model.layout.size,
            generator=torch_generator(config.seed, "noise", self.step),
        )

    def _skip_gate(self) -> float:
        """How far the encoder's states are open to the decoder: from 1 down to 0, then closed."""
        config = self.run.config
        share = config.model.encoder_skip * config.training.steps
        return max(0.0, 1.0 - self.step / share) if share else 0.0

    def _keep(self, tokens: Tensor) -> Tensor | None:
        config = self.run.config
        if config.model.token_dropout == 0.0:
            return None
        longest = self.run.corpus.max_tokens + TokenStore.MULTIPLE
        drawn = torch.rand(
            config.training.batch_size,
            longest,
            generator=torch_generator(config.seed, "token_dropout", self.step),
        )
        kept = self.workers.share(drawn >= config.model.token_dropout)
        return kept[:, : tokens.shape[1] - 1].to(tokens.device)

    def row(self, terms: Terms) -> dict[str, float]:
        """The training metrics of the step just taken, averaged over the workers."""
        config = self.run.config
        values = {
            "train/objective_nats": terms.objective,
            "train/negative_elbo_nats": terms.negative_elbo,
            "train/reconstruction_nats": terms.reconstruction,
            "train/kl_nats": terms.kl,
            "train/kl_charged_nats": terms.kl_charged,
        }
        names = [level.name for level in self.model.layout.levels]
        levels = level_rates(terms.rates, self.level, names)
        values |= {f"train/kl_nats/{name}": value for name, value in levels.items()}
        values |= {f"train/{name}": value for name, value in terms.regularizers.items()}
        means = self.workers.mean(torch.stack([value.detach() for value in values.values()]))
        taken = self.step - 1
        gate = {"train/encoder_skip_gate": self.gate} if config.model.encoder_skip else {}
        return {
            "step": self.step,
            **dict(zip(values, means.tolist(), strict=True)),
            **gate,
            "objective/beta": self.beta,
            "objective/beta_settled": float(self.schedule.settled(taken)),
            "optimizer/lr": learning_rate(config.optimizer, taken, config.training.steps),
        }

    def save(self) -> None:
        """Write the checkpoint of this step."""
        checkpoint.save(
            self.run.checkpoint_folder,
            step=self.step,
            model=self.model,
            optimizer=self.optimizer,
            schedule=self.schedule,
        )


def check_fits(config: RunConfig, corpus: Corpus, n_workers: int) -> None:
    """Refuse a configuration that cannot be trained on ``corpus`` by ``n_workers`` workers.

    Raises:
        ConfigError: If the architecture does not fit the window, or as :func:`check_music`.
    """
    outline(config, corpus.vocabulary, corpus.n_bars)
    check_music(config, corpus, n_workers)


def check_music(config: RunConfig, corpus: Corpus, n_workers: int) -> None:
    """Refuse a configuration that asks of ``corpus`` or the workers what they do not have.

    Raises:
        ConfigError: If the batch does not fit the workers, or a context, an augmentation or a
            regularizer the corpus and the latent space.
    """
    train = np.asarray(corpus.attributes)[corpus.indices("train")]
    check_context(train, corpus.attribute_names, config.latent.context)
    check_batches(corpus, config.augmentation, config.training.batch_size, n_workers)
    check_parts(config, n_workers)
    check_regularizers(config, corpus, LatentLayout.of(config.latent.levels, corpus.n_bars))


def check_parts(config: RunConfig, n_workers: int) -> None:
    """Refuse parts of a step that would not be equal, and a compiled step in several workers.

    Raises:
        ConfigError: If the batch cannot be cut so.
    """
    size, parts = config.training.batch_size, config.training.accumulate
    if size % (n_workers * parts) != 0:
        raise ConfigError(
            "training.batch_size must be a multiple of training.accumulate times the workers per "
            f"trial, got batch_size={size}, accumulate={parts}, workers={n_workers}."
        )
    if config.training.compile and n_workers > 1:
        raise ConfigError(
            f"training.compile must be false with several workers per trial, got {n_workers} "
            "workers. Leave it out, or train with --workers-per-trial 1."
        )
