"""The training loop: batches in, reported metrics out. It knows nothing of Ray."""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from aurl.config import RunConfig
from aurl.data.batches import TokenStore, TrainingBatches, sent
from aurl.data.corpus import Corpus
from aurl.model.vae import Vae
from aurl.objective_config import ADAPTIVE
from aurl.objectives.controllers import schedule_of
from aurl.objectives.objective import Terms, averaged, level_rates, regularized
from aurl.seeding import seeded, torch_generator
from aurl.training import checkpoint
from aurl.training.dials import Dials
from aurl.training.elbo import Elbo, check_precision, compile_for
from aurl.training.evaluate import Evaluator
from aurl.training.fits import check_parts
from aurl.training.look import Look, look_at
from aurl.training.messages import WORKERS, Row
from aurl.training.optimizer import adamw, learning_rate, step_if
from aurl.training.place import Place
from aurl.training.regularization import Regularization
from aurl.training.replay import Replay, Unchecked
from aurl.training.workers import Workers

Report: TypeAlias = Callable[[Sequence[Row]], bool]
"""Takes the rows since the last report; answers whether to go on."""


class Inputs(NamedTuple):
    """What a step reads."""

    tokens: Tensor
    bar: Tensor
    phase: Tensor
    noise: Tensor
    keep: Tensor | None
    """What token dropout leaves."""

    context: Tensor
    windows: Tensor
    """Those of all workers."""

    prior_draws: Tensor | None = None


PRIOR_DRAWS = 512
"""Draws that a learned prior's covariances are estimated from in a step that asks for them."""


class DivergedError(FloatingPointError):
    """The objective stopped being finite; the weights are those before the step."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one run computes, and where it keeps its checkpoint."""

    config: RunConfig
    corpus: Corpus
    checkpoint_folder: Place
    show: Callable[[Look], None] | None = None
    """Given what there is to see and hear after the last evaluation, before its report."""

    note: Callable[[Sequence[Row]], bool] | None = None
    """Given the first worker's rows since the last report, after each step between two reports;
    answers whether they were told and a checkpoint is to be written at once."""


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
            trainer.check()
            elapsed = perf_counter() - started
            metrics: dict[str, float] = {
                "step": trainer.step,
                "time/step_s": elapsed / (trainer.step - first),
                "throughput/tokens_per_s": trainer.tokens / elapsed,
                WORKERS: float(workers.size),
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
        elif workers.rank == 0 and run.note is not None and run.note(rows):
            rows = []
            trainer.save()
    return True


def shown(run: Run, trainer: "Trainer", evaluator: Evaluator, *, last: bool) -> dict[str, float]:
    """Values of each dimension in the evaluation just made; the last one is also looked at."""
    if evaluator.seen is None:
        return {}
    if last and run.show is not None:
        look = look_at(trainer.model, evaluator.seen)
        if look is not None:
            run.show(look)
    return evaluator.seen.of_dimensions(trainer.model.layout)


class Trainer:
    """Model, optimizer and data of one run on one worker, at one step.

    Args:
        run: Configuration, music and checkpoint folder.
        workers: The workers that share each batch.
    """

    def __init__(self, run: Run, workers: Workers) -> None:
        config, device = run.config, workers.device
        workers.forget_peak()
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
        step = torch.tensor(float(self.step), dtype=torch.float64, device=device)
        if workers.mean(step) != step:  # a machine whose network file system is behind
            raise RuntimeError(
                f"this worker's checkpoint is of step {self.step}, and another's is not"
            )
        self.regularization = Regularization(config, run.corpus, layout, workers)
        check_parts(config, workers.size)
        check_precision(config, device)
        self.elbo = Elbo(self.model, config, workers)
        self.parallel = workers.parallel(self.elbo)
        self.dials = Dials(config, layout, self.schedule, self.optimizer, device)
        self.replay: Replay[Inputs, tuple[Terms, Tensor]] | None = None
        if config.training.compile:
            compile_for(self.elbo, device)
            if device.type == "cuda" and workers.size == 1:
                self.replay = Replay(self._update, device)
        self.mean_tokens = float(run.corpus.mean_tokens)
        self.tokens = 0
        """Tokens predicted since the last evaluation, by all workers; padding is none."""

        self._ahead: tuple[int, Inputs] | None = None
        self._unchecked: Unchecked | None = None
        self._finite = torch.ones((), dtype=torch.bool, device=device)

    def take_step(self) -> Terms:
        """One optimizer step on the batch of this step.

        Returns:
            Its terms, until the next step; a GPU may still be computing them.

        Raises:
            DivergedError: If the objective or its gradient is not finite on any worker, at this
                step or, on a GPU that is still computing this one, at the one before. No weight
                was updated in that step and after it.
        """
        with nullcontext() if self.replay is None else self.replay.stream():
            return self._stepped()

    def _stepped(self) -> Terms:
        inputs = self._ahead[1] if self._ahead and self._ahead[0] == self.step else None
        inputs = self._inputs(self.step) if inputs is None else inputs
        self.dials.turn(self.step)
        update = self._update if self.replay is None else self.replay
        terms, seen = update(inputs._replace(prior_draws=self._prior_draws()))
        before, self._unchecked = self._unchecked, Unchecked(self.step + 1, seen)
        self.tokens += self.batches.tokens_at(self.step)
        self.step += 1
        if self.replay is None or self.run.config.objective.beta.schedule in ADAPTIVE:
            self.check()
        else:  # what a GPU still computes is checked when it has been given more to do
            self._ahead = (self.step, self._inputs(self.step))
            self._check(before)
        return terms

    def check(self) -> None:
        """Wait until all steps have been computed.

        Raises:
            DivergedError: As :meth:`take_step`.
        """
        unchecked, self._unchecked = self._unchecked, None
        self._check(unchecked)

    def _check(self, unchecked: Unchecked | None) -> None:
        if unchecked is None:
            return
        objective, kl, reconstruction, gradient = unchecked.values()
        for name, value in (("objective", objective), ("gradient", gradient)):
            if not math.isfinite(value):
                raise DivergedError(f"{name} is not finite at step {unchecked.step}.")
        self.schedule.observe(kl=kl, reconstruction=reconstruction)

    def _inputs(self, step: int) -> Inputs:
        """What is a function of seed and step."""
        device = self.workers.device
        tokens, context = self.batches.with_context(step)
        bar, phase = self.model.vocabulary.positions(tokens)
        windows = sent(torch.from_numpy(self.batches.windows_at(step)), device)
        noise = sent(self.workers.share(self._noise(step)), device)
        keep = self._keep(tokens, step)
        return Inputs(tokens, bar, phase, noise, keep, context, windows)

    def _update(self, inputs: Inputs) -> tuple[Terms, Tensor]:
        """Forward, backward and update, without waiting for the device.

        Returns:
            The terms, and over all workers objective, raw KL, reconstruction and the norm of the
            gradient. If the first or the last is not finite, no weight was updated, nor will be.
        """
        config = self.run.config
        parts = config.training.accumulate
        self.optimizer.zero_grad(set_to_none=True)
        done: list[Terms] = []
        for part in range(parts):
            rows = slice(part, None, parts)
            with self.workers.exchange(self.parallel, gradients=part == parts - 1):
                terms, posterior = self.parallel(
                    inputs.tokens[rows],
                    (inputs.bar[rows], inputs.phase[rows]),
                    inputs.noise[rows],
                    None if inputs.keep is None else inputs.keep[rows],
                    inputs.context[rows],
                    self.dials.weights,
                )
                regularizers = self.regularization.terms(
                    posterior, inputs.noise[rows], inputs.windows, inputs.prior_draws
                )
                terms = regularized(terms, regularizers)
                (terms.objective / (parts * self.mean_tokens)).backward()
            done.append(terms)
        terms = averaged(done)
        norm = torch.nn.utils.clip_grad_norm_(
            self.model.parameters(), config.optimizer.gradient_clip
        )
        seen = torch.cat([self.workers.mean(terms.seen()), norm[None]])
        self._finite &= seen[0].isfinite() & norm.isfinite()
        step_if(self.optimizer, self._finite)
        return terms, seen

    @torch.no_grad()
    def _prior_draws(self) -> Tensor | None:
        """Draws from a learned prior, if a regularizer compares with it."""
        if self.model.prior.is_standard or not self.regularization.compares_with_prior:
            return None
        generator = torch_generator(self.run.config.seed, "prior draws", self.step)
        return self.model.sample_prior(PRIOR_DRAWS, generator=generator)

    def _noise(self, step: int) -> Tensor:
        config = self.run.config
        return torch.randn(
            config.training.batch_size,
            self.model.layout.size,
            generator=torch_generator(config.seed, "noise", step),
        )

    def _keep(self, tokens: Tensor, step: int) -> Tensor | None:
        config = self.run.config
        if config.model.token_dropout == 0.0:
            return None
        longest = self.run.corpus.max_tokens + TokenStore.MULTIPLE
        drawn = torch.rand(
            config.training.batch_size,
            longest,
            generator=torch_generator(config.seed, "token_dropout", step),
        )
        kept = self.workers.share(drawn >= config.model.token_dropout)
        return sent(kept[:, : tokens.shape[1] - 1].contiguous(), tokens.device)

    def row(self, terms: Terms) -> dict[str, float]:
        """The training metrics of the step just taken, averaged over the workers."""
        self.check()
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
        gate = {"train/encoder_skip_gate": self.dials.gate} if config.model.encoder_skip else {}
        return {
            "step": self.step,
            **dict(zip(values, means.tolist(), strict=True)),
            **gate,
            "objective/beta": self.dials.beta,
            "objective/beta_settled": float(self.dials.settled(taken)),
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
