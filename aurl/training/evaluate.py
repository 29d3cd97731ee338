"""Evaluation of a model on a held-out split.

Likelihood, KL health, what the codes say of musical attributes, what the decoder makes of them.
Windows, noise and shuffles are fixed by the corpus and the split, not by the run: two trials are
always compared on the same music with the same draws.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from aurl.config import EvaluationConfig, RunConfig
from aurl.data.attributes import discretized
from aurl.data.batches import TokenStore
from aurl.data.corpus import Corpus
from aurl.metrics.active_units import active_units, collapsed_fraction, kl_from_aggregate
from aurl.metrics.dci import ForestSettings
from aurl.metrics.dimensions import over_slots, own_rates
from aurl.metrics.disentanglement import disentanglement
from aurl.metrics.kl_health import (
    KLHealth,
    KLHealthSettings,
    LatentEvidence,
    kl_health,
    level_health,
)
from aurl.metrics.latent_information import latent_information
from aurl.metrics.score import rung_score, trial_score
from aurl.model.latents import Posterior
from aurl.model.vae import Vae
from aurl.seeding import numpy_generator, torch_generator
from aurl.training.factor_evidence import FactorWindows, factor_evidence
from aurl.training.importance import importance_metrics
from aurl.training.likelihood import likelihood, nll_of_windows, one_level_of_others, partners
from aurl.training.look import Seen
from aurl.training.reconstructions import Notes, Reconstructions, interval_by_piece, notes_of

BATCH = 64
BATCH_TOKENS = 8192
"""Windows, and tokens with padding, that are measured at once at most."""

LEVEL_WINDOWS = 32
"""Windows that say whether the decoder uses a level, in a trial; an export has more."""

PRIOR_DRAWS = 2000
INFORMED = 500
"""Windows that the information of each coordinate is estimated from. An estimate is at most their
logarithm, 6.2 nats, and the time grows with their square."""

FOREST = ForestSettings(n_trees=20)
"""Fewer trees than for tables: the standard deviation over seeds grows from 0.002 to 0.003."""


class Evaluator:
    """Evaluates models on fixed windows of one split.

    Args:
        corpus: The music.
        store: Its tokens on the device.
        config: How many windows, and what KL health holds a run against.
        split: Which windows.
    """

    def __init__(
        self,
        corpus: Corpus,
        store: TokenStore,
        config: RunConfig,
        *,
        split: Literal["val", "test"],
    ) -> None:
        self.corpus = corpus
        self.store = store
        self.settings = config.evaluation
        self.split = split
        self._truth: list[Notes] = []
        self.windows = in_order(corpus, split)[: self.settings.final_windows]
        self.factors, self.factor_names = _factors(corpus, self.windows)
        self.seen: Seen | None = None

    @torch.no_grad()
    def evaluate(self, model: Vae, *, final: bool) -> dict[str, float]:
        """Metrics under their full names, such as ``val/kl_nats``.

        Args:
            model: The model; its weights are read only.
            final: Also decode freely and score disentanglement, on all windows of the evaluation.

        Returns:
            Finite or not: a model that has diverged is measured as it is.
        """
        training = model.training
        model.eval()
        try:
            return self._evaluated(model, final=final)
        finally:
            model.train(training)

    def _evaluated(self, model: Vae, *, final: bool) -> dict[str, float]:
        sizes = self._sizes(final=final)
        piece = np.asarray(self.corpus.piece)[self.windows]
        n = sizes["windows"]
        few = LEVEL_WINDOWS if self.split == "val" else self.settings.samples
        measured = Measured(model, self.store, self.windows[:n], piece[:n], few)
        values = {**sizes, **measured.likelihood()}
        health, by_level = self._health(model, measured)
        values |= {"live_dimensions": float(health.live.sum()), **health.to_dict(), **by_level}
        codes = measured.mean
        if final:
            codes = np.concatenate([codes, codes_of(model, self.store, self.windows[n:])])
        self.seen = Seen(
            corpus=self.corpus,
            windows=self.windows[: len(codes)],
            mean=codes,
            log_var=measured.log_var,
            health=health,
            information=measured.information,
            factors=self.factors,
            factor_names=self.factor_names,
        )
        reconstructed = self._reconstructions(
            model, codes[: sizes["reconstructions"]], with_zero=final
        )
        values |= reconstructed.summary()
        whole = self.corpus.is_constructed  # of a young model, no window comes back so
        share = values["token_probability" if whole else "reconstruction_score"]
        values["rung_score"] = rung_score(health.kl_health, share)
        if final:
            values |= measured.latent_use()
            if self.corpus.is_constructed:
                sampled = self._reconstructions(model, measured.z[: sizes["reconstructions"]])
                values["sequence_accuracy/sampled_z"] = sampled.exact.mean()
            values |= self._importance(model, sizes["importance_windows"])
            values |= self._disentanglement(model, codes, piece, health)
            values["score"] = trial_score(
                health.kl_health, values["disentanglement"], values["reconstruction_score"]
            )
        return {f"{self.split}/{name}": float(value) for name, value in values.items()}

    def _sizes(self, *, final: bool) -> dict[str, int]:
        """How much music the values of an evaluation are of, by the names they are reported by."""
        settings, most = self.settings, len(self.windows)
        if not final:
            n = min(most, settings.windows)
            return {"windows": n, "reconstructions": min(n, -(-settings.reconstructions // 4))}
        sizes = {
            "windows": settings.likelihood_windows or most,
            "reconstructions": settings.reconstructions,
            "importance_windows": settings.importance_windows,
        }
        if self.split == "test":  # an export is measured once, and its time is no trial's
            sizes = dict.fromkeys(sizes, settings.samples) | {"windows": most}
        return {
            **{name: min(most, size) for name, size in sizes.items()},
            "importance_samples": settings.importance_samples,
            "disentanglement/windows": most,
        }

    def _importance(self, model: Vae, count: int) -> dict[str, float]:
        windows = self.windows[:count]
        parts = _parts_by_length(self.store, windows)
        return importance_metrics(
            model, self.store, windows, parts, self.settings.importance_samples
        )

    def _health(self, model: Vae, measured: "Measured") -> tuple[KLHealth, dict[str, float]]:
        """KL health of the whole code, and the values of each level."""
        evidence = LatentEvidence(
            kl=measured.kl,
            mean=measured.mean,
            log_var=measured.log_var,
            reconstruction=measured.nll,
            reconstruction_shuffled_z=measured.nll_shuffled,
            dimension=measured.dimension,
            rates=measured.rates,
            prior_samples=_prior_samples(model),
        )
        settings = KLHealthSettings(
            target_rate_nats=target_rate_nats(self.settings, self.corpus),
            n_target=max(1, len(self.factor_names)),
        )
        of_levels = measured.nll_shuffled_level
        right = measured.nll[: len(of_levels)]
        values = {"level_windows": float(len(right))}
        for index, name in enumerate(measured.level_names):
            losses = right, of_levels[:, index]
            part = level_health(evidence, settings, measured.level == index, losses)
            values[f"latent_use_nats/{name}"] = float((losses[1] - right).mean())
            for key, value in part.to_dict().items():
                values[f"kl_health/{name}/{key.removeprefix('kl_health/')}"] = value
        return kl_health(evidence, settings), values

    def _disentanglement(
        self,
        model: Vae,
        codes: Float[np.ndarray, "sample coordinate"],
        piece: Int[np.ndarray, " sample"],
        health: KLHealth,
    ) -> dict[str, float]:
        live = health.live[model.layout.dimension.numpy()]
        codes = codes.round(6)  # equal windows tie, whatever order sums were taken in
        scores = disentanglement(codes, self.factors, live=live, groups=piece, forest=FOREST)
        if self.split == "val":  # what the score is read against is worth its time at the end only
            return scores.to_dict()
        windows = FactorWindows(
            codes=codes,
            live=live,
            factors=self.factors,
            names=self.factor_names,
            pieces=piece,
        )
        return scores.to_dict() | factor_evidence(scores, windows, FOREST)

    def _reconstructions(
        self, model: Vae, codes: Float[np.ndarray, "sample coordinate"], *, with_zero: bool = False
    ) -> Reconstructions:
        chosen = self.windows[: len(codes)]
        for window in chosen[len(self._truth) :]:  # the same in each evaluation
            self._truth.append(notes_of(self.corpus.window(int(window)), model))
        z = torch.from_numpy(codes).to(next(model.parameters()))
        truth = self._truth[: len(codes)]
        return Reconstructions(model, self.corpus, chosen, z, truth, with_zero=with_zero)


def in_order(corpus: Corpus, split: Literal["val", "test"]) -> Int[np.ndarray, " window"]:
    """The windows of a split in the order in which evaluations take them, whatever the run."""
    return numpy_generator(0, "evaluation", split).permutation(corpus.indices(split))


def target_rate_nats(settings: EvaluationConfig, corpus: Corpus) -> float:
    """R*: the KL in nats per sequence that KL health holds a run against."""
    per_bar = settings.target_rate_nats_per_bar
    return corpus.target_rate_nats if per_bar is None else per_bar * corpus.n_bars


class Measured:
    """What one pass over held-out windows gives, window by window, in float64.

    Args:
        model: The model.
        store: The corpus's tokens on the model's device.
        windows: Windows to measure.
        piece: The piece of each window: z is shuffled between pieces, never within one.
        of_levels: The first so many windows are also measured with one level of z shuffled.
    """

    def __init__(
        self,
        model: Vae,
        store: TokenStore,
        windows: Int[np.ndarray, " sample"],
        piece: Int[np.ndarray, " sample"],
        of_levels: int = LEVEL_WINDOWS,
    ) -> None:
        self.piece = piece
        self.level = model.layout.level.numpy()
        self.dimension = model.layout.dimension.numpy()
        self.level_names = [level.name for level in model.layout.levels]
        noise = torch.randn(
            len(windows), model.layout.size, generator=torch_generator(0, "evaluation noise")
        )
        parts = _parts_by_length(store, windows)
        encoded = [model.encode(store.padded(_windows_of(windows, part))) for part in parts]
        back = torch.argsort(torch.cat(parts))
        mean = torch.cat([posterior.mean for posterior in encoded])[back]
        log_var = torch.cat([posterior.log_var for posterior in encoded])[back]
        posterior = Posterior(mean, log_var)
        z = posterior.sample(noise.to(mean))
        self.z = z.double().cpu().numpy()
        self.mean = mean.double().cpu().numpy()
        self.log_var = log_var.double().cpu().numpy()
        base = model.prior.in_base(posterior, z, store.context[torch.from_numpy(windows)])
        self.kl = base.kl().double().cpu().numpy()
        information = latent_information(
            z[:INFORMED].double().cpu().numpy(), self.mean[:INFORMED], self.log_var[:INFORMED]
        )
        self.information = over_slots(information, self.dimension)
        self.rates: Float[np.ndarray, " coordinate"] | None = None
        self.own_kl = self.kl
        if not model.prior.is_closed_form:
            closed = model.prior.closed_form.cpu().numpy()
            self.own_kl = np.where(closed, self.kl, kl_from_aggregate(self.mean, self.log_var))
            slot = model.layout.slot.numpy()
            self.rates = own_rates(self.kl.mean(axis=0), information, closed, slot)
        others = z[torch.from_numpy(partners(piece))]
        measured = [
            likelihood(model, store.padded(_windows_of(windows, part)), z[part], others[part])
            for part in parts
        ]
        columns = [np.concatenate(column)[back.numpy()] for column in zip(*measured, strict=True)]
        self.nll, self.nll_shuffled, self.n_correct, self.n_tokens, self.n_notes = columns
        self.nll_shuffled_level = self.nll_shuffled[:, None]
        if len(self.level_names) > 1:
            few = windows[:of_levels]
            mixed = one_level_of_others(model.layout, z[: len(few)], others[: len(few)])
            self.nll_shuffled_level = self._nll(model, store, few, mixed)

    def _nll(
        self,
        model: Vae,
        store: TokenStore,
        windows: Int[np.ndarray, " window"],
        codes: list[Tensor],
    ) -> Float[np.ndarray, "window code"]:
        """-log p(x|z) of windows, with each of several codes."""
        nll = np.empty((len(windows), len(codes)))
        for part in _parts_by_length(store, windows):
            tokens = store.padded(_windows_of(windows, part))
            for place, code in enumerate(codes):
                logits = model.decode(tokens, code[part])
                losses = nll_of_windows(model, logits, tokens).cpu().numpy()
                nll[part.numpy(), place] = losses
        return nll

    def likelihood(self) -> dict[str, float]:
        """Terms of the ELBO in nats per sequence, and their ratios to tokens and notes.

        ``token_probability`` is of the reconstruction alone: the geometric mean over all tokens.
        ``bits_per_token`` and ``nats_per_note`` are of the negative ELBO: what the music costs,
        its code included.
        """
        kl = self.kl.sum(axis=1)
        negative_elbo = self.nll + kl
        values = {
            "negative_elbo_nats": negative_elbo.mean(),
            "reconstruction_nats": self.nll.mean(),
            "reconstruction_shuffled_z_nats": self.nll_shuffled.mean(),
            "kl_nats": kl.mean(),
            "token_accuracy": self.n_correct.sum() / self.n_tokens.sum(),
            "token_probability": np.exp(-self.nll.sum() / self.n_tokens.sum()),
            "bits_per_token": negative_elbo.sum() / self.n_tokens.sum() / np.log(2.0),
            "nats_per_note": negative_elbo.sum() / max(1, self.n_notes.sum()),
            "active_units": float(active_units(self.mean, self.dimension)),
            "collapsed_fraction": collapsed_fraction(self.own_kl, self.dimension),
        }
        for index, name in enumerate(self.level_names):
            values[f"kl_nats/{name}"] = self.kl[:, self.level == index].sum(axis=1).mean()
        return {name: float(value) for name, value in values.items()}

    def latent_use(self) -> dict[str, float]:
        """What shuffling z between pieces costs, in nats per sequence, with a 95 % interval."""
        gap = self.nll_shuffled - self.nll
        interval = interval_by_piece(gap, self.piece)
        return {
            "latent_use_nats": float(gap.mean()),
            "latent_use_nats/low": interval.low,
            "latent_use_nats/high": interval.high,
        }


def _prior_samples(model: Vae) -> Float[np.ndarray, "draw coordinate"] | None:
    """Draws from a learned prior; the same noise for every model."""
    if model.prior.is_standard:
        return None
    generator = torch_generator(0, "evaluation prior")
    return model.sample_prior(PRIOR_DRAWS, generator=generator).double().cpu().numpy()


def _factors(
    corpus: Corpus, windows: Int[np.ndarray, " sample"]
) -> tuple[Int[np.ndarray, "sample factor"], list[str]]:
    """What the codes of ``windows`` are asked about: known factors, or musical attributes."""
    values = np.asarray(corpus.attributes)
    if corpus.is_constructed:
        return values[windows].astype(np.int64), list(corpus.attribute_names)
    return discretized(values[windows], values[corpus.indices("train")], corpus.attribute_names)


def codes_of(
    model: Vae, store: TokenStore, windows: Int[np.ndarray, " sample"]
) -> Float[np.ndarray, "sample coordinate"]:
    """Posterior means of ``windows``, in float64."""
    codes = np.empty((len(windows), model.layout.size))
    for part in _parts_by_length(store, windows):
        posterior = model.encode(store.padded(_windows_of(windows, part)))
        codes[part.numpy()] = posterior.mean.double().cpu().numpy()
    return codes


def _parts_by_length(store: TokenStore, windows: Int[np.ndarray, " sample"]) -> list[Tensor]:
    """Rows of ``windows`` in batches of like length, each row once."""
    lengths = store.lengths(torch.from_numpy(windows))
    rest = lengths.argsort(stable=True)
    parts: list[Tensor] = []
    while len(rest):
        longest = lengths[rest[:BATCH]] * torch.arange(1, len(rest[:BATCH]) + 1)
        parts.append(rest[: max(1, int((longest <= BATCH_TOKENS).sum()))])
        rest = rest[len(parts[-1]) :]
    return parts


def _windows_of(windows: Int[np.ndarray, " sample"], rows: Tensor) -> Tensor:
    """The windows in some rows."""
    return torch.from_numpy(windows)[rows]
