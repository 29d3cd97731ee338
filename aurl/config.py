"""The whole configuration of one run, as one tree of frozen dataclasses.

A ``RunConfig`` is built once at the edge, validated where each value lives, and passed down.
Defaults < YAML < ``--set``. Nothing below the command line reads YAML, the environment or flags.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast

from aurl.errors import ConfigError
from aurl.latent_config import MOST, LatentConfig
from aurl.objective_config import ObjectiveConfig
from aurl.plain import Plain, build, check_numbers

MOST_DRAWS = 100_000
"""From a prior, or of a code, at a time: far more do not fit into memory."""

MOST_STEPS = 2**53
"""Of a run: beyond, shares of it are not exact, as numbers are kept in double precision."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MelodiesConfig:
    """How much of the corpus ``melodies`` is used; other corpora have no such settings."""

    train: int = 100_000
    """Melodies of the train split; val and test have theirs in proportion (70, 20, 10 %). The
    default is about one epoch of a run of the default length; 948326 is all."""

    seed: int = 0
    """Which of the published splits, by the seed they are named by."""

    def __post_init__(self) -> None:
        if not 100 <= self.train <= 948_326:
            raise ConfigError(f"data.melodies.train must be in 100..948326, got {self.train}.")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"data.melodies.seed must be in 0..4294967295, got {self.seed}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """Which music."""

    corpus: str = "tunes"
    """``tunes`` (bundled), ``melodies`` (constructed) or a folder made by ``aurl prepare``."""

    melodies: MelodiesConfig = field(default_factory=MelodiesConfig)

    fingerprint: str = ""
    """SHA-256 of the corpus a result was computed on; empty accepts any."""

    def __post_init__(self) -> None:
        if self.corpus != "melodies" and self.melodies != MelodiesConfig():
            raise ConfigError(
                f"data.melodies must be left out for the corpus {self.corpus!r}, got "
                f"{asdict(self.melodies)}: it would have no effect."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentationConfig:
    """Random changes to training windows; one that would leave the range is dropped whole."""

    transpose: int = 0
    """Largest transposition, in semitones up or down; drums never move."""

    tempo: int = 0
    """Largest tempo change, in bins of the vocabulary's tempo tokens."""

    velocity: int = 0
    """Largest velocity change, in bins of the vocabulary's velocity tokens."""

    def __post_init__(self) -> None:
        for name in ("transpose", "tempo", "velocity"):
            value = getattr(self, name)
            if not 0 <= value <= 12:
                raise ConfigError(f"augmentation.{name} must be in 0..12, got {value}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """Width of the Transformer, shared by encoder and decoder."""

    d_model: int = 128
    """Width of the residual stream."""

    n_heads: int = 4
    """Attention heads; must divide ``d_model`` into an even head size (rotary pairs)."""

    encoder_layers: int = 3
    """Transformer blocks of the encoder; at least one for each distinct span."""

    decoder_layers: int = 3
    """Transformer blocks of the decoder."""

    encoder_skip: float = 0.0
    """Share of training in which the decoder also sees the encoder's states, through a gate that
    falls from 1 to 0. A training aid: no evaluation, checkpoint choice or sample sees them."""

    token_dropout: float = 0.0
    """Share of the decoder's input tokens replaced by PAD in training (Bowman et al. 2016)."""

    def __post_init__(self) -> None:
        for name in ("d_model", "n_heads", "encoder_layers", "decoder_layers"):
            value = getattr(self, name)
            if not 1 <= value <= MOST:
                raise ConfigError(f"model.{name} must be in 1..{MOST}, got {value}.")
        if self.d_model % (2 * self.n_heads) != 0:
            raise ConfigError(
                "model.d_model must be a multiple of 2 * model.n_heads, "
                f"got d_model={self.d_model}, n_heads={self.n_heads}. Change one of them."
            )
        check_numbers(self, "model", "in [0, 1)", "encoder_skip", "token_dropout")


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerConfig:
    """AdamW with a linear warm-up, a cosine decay and gradient clipping."""

    lr: float = 1e-3
    """Peak learning rate."""

    weight_decay: float = 0.01
    """Decoupled weight decay of the matrices; gains, biases and embeddings have none."""

    warmup: float = 0.05
    """Share of training over which the learning rate rises from 0."""

    gradient_clip: float = 1.0
    """Largest norm of the gradient of ``objective / tokens per sequence``."""

    def __post_init__(self) -> None:
        check_numbers(self, "optimizer", "> 0", "lr", "gradient_clip")
        check_numbers(self, "optimizer", ">= 0", "weight_decay")
        check_numbers(self, "optimizer", "in [0, 1)", "warmup")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """How long, and with how much at a time."""

    steps: int = 2000
    """Optimizer steps."""

    batch_size: int = 64
    """Windows in one step, over all workers together."""

    accumulate: int = 1
    """Equal parts in which each worker takes its share of a step, one after another: the same
    gradient in less memory."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """What the matrix products of a training step, and the sums between its layers, are computed
    in; all else, and every evaluation, is float32."""

    compile: bool = False
    """Whether torch compiles the training step. The first steps take minutes longer, and batches
    are padded to few widths; on a GPU, the whole step of one worker is then replayed as a CUDA
    graph."""

    log_every: int = 10
    """Steps between rows of training metrics."""

    def __post_init__(self) -> None:
        check_numbers(self, "training", ">= 1", "steps", "batch_size", "accumulate", "log_every")
        if self.steps > MOST_STEPS:
            raise ConfigError(f"training.steps must be <= {MOST_STEPS}, got {self.steps}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationConfig:
    """When a run is evaluated, on how much, and against which target."""

    every: int = 500
    """Steps between evaluations, each followed by a checkpoint; the last step has one always."""

    windows: int = 256
    """Held-out windows of an evaluation on the way."""

    final_windows: int = 1000
    """Held-out windows of the evaluation that a trial is ranked by, and of an export."""

    likelihood_windows: int | None = None
    """Of ``final_windows``, those that a trial's last evaluation also decodes, for likelihood and
    KL health; codes are scored on all. By default all are decoded, in an export always."""

    reconstructions: int = 256
    """Windows that a trial's last evaluation decodes freely from their codes; those on the way, a
    quarter of it."""

    importance_windows: int = 128
    """Held-out windows that a trial's last evaluation bounds the likelihood of by importance
    weights."""

    importance_samples: int = 16
    """K, draws of z for each of them: bounds of different K cannot be compared."""

    samples: int = 256
    """Draws from the prior that an export's musical metrics are of; windows that it decodes
    freely, that it bounds the likelihood of and that the use of each level is of. A trial draws
    none, and has numbers of its own for the rest."""

    target_rate_nats_per_bar: float | None = None
    """Rate that ``kl_health`` holds a run against. By default the corpus's: on ``melodies`` the
    entropy of their factors, 7.06, on other music 6.7, which docs/decisions/0003 argues for."""

    def __post_init__(self) -> None:
        sizes = ("reconstructions", "samples", "importance_windows", "importance_samples")
        check_numbers(self, "evaluation", ">= 1", "every", *sizes)
        for name in ("samples", "importance_samples"):
            if getattr(self, name) > MOST_DRAWS:
                value = getattr(self, name)
                raise ConfigError(f"evaluation.{name} must be <= {MOST_DRAWS}, got {value}.")
        # Codes are exchanged between windows.
        check_numbers(self, "evaluation", ">= 2", "windows", "final_windows")
        if self.likelihood_windows is not None and self.likelihood_windows < 2:
            raise ConfigError(
                "evaluation.likelihood_windows must be >= 2, or left out, "
                f"got {self.likelihood_windows}."
            )
        check_numbers(self, "evaluation", "> 0", "target_rate_nats_per_bar")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """Everything that decides what one training run computes."""

    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    latent: LatentConfig = field(default_factory=LatentConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**31:
            raise ConfigError(f"seed must be in 0..2147483647, got {self.seed}.")
        floor = self.objective.free_bits
        by_dimension = floor.threshold > 0.0 and floor.granularity == "dimension"
        if by_dimension and not self.latent.is_standard:
            raise ConfigError(
                "objective.free_bits.granularity must be level or total under a mixture or flow "
                "prior, got dimension: the KL has no part for each dimension there."
            )
        self._check_schedules()
        self._check_moments()
        self._check_accumulation()

    def _check_schedules(self) -> None:
        """Refuse cycles of beta that no step is inside of, and a level that would never open."""
        beta, steps = self.objective.beta, self.training.steps
        if beta.cycles is not None and beta.cycles >= steps:
            raise ConfigError(
                f"objective.beta.cycles must be < training.steps, got {beta.cycles} in {steps} "
                "steps: a cycle of one step has beta 0. Take fewer cycles, or more steps."
            )
        for level in self.latent.levels:
            if level.dim and level.opens * steps > steps - 1:
                raise ConfigError(
                    f"latent.levels.{level.name}.opens must leave the level a step, got "
                    f"{level.opens} of {steps} steps. Open it earlier, or take more steps."
                )

    def _check_moments(self) -> None:
        """Refuse covariances of too few sequences, and comparisons of a single one."""
        size = self.training.batch_size
        for name in ("total_correlation", "attribute_order"):
            if getattr(self.objective.regularizers, name) and size < 2:
                raise ConfigError(
                    f"training.batch_size must be >= 2 for objective.regularizers.{name}, "
                    f"which compares sequences, got {size}."
                )
        for name in ("dip_off_diagonal", "dip_diagonal", "orthogonality"):
            if getattr(self.objective.regularizers, name) and size < 4:
                raise ConfigError(
                    "training.batch_size must be >= 4 for an unbiased "
                    f"objective.regularizers.{name}, got {size}."
                )

    def _check_accumulation(self) -> None:
        """Refuse to cut a batch that a term must see as a whole."""
        names = self.objective.regularizers.of_whole_batch()
        whole = [f"objective.regularizers.{name}" for name in names]
        if self.objective.free_bits.threshold:
            whole.append("objective.free_bits.threshold")
        whole += [
            f"latent.levels.{each.name}.free_nats"
            for each in self.latent.levels
            if each.free_nats and each.dim
        ]
        if self.latent.posterior == "batch_norm":
            whole.append("latent.posterior batch_norm")
        if whole and self.training.accumulate > 1:
            raise ConfigError(
                f"training.accumulate must be 1 with {whole[0]}, which looks at a whole batch, "
                f"got {self.training.accumulate}."
            )


def to_plain(config: RunConfig) -> Plain:
    """The configuration as nested plain data; unset schedule keys are left out."""
    return _without_none(asdict(config))


def from_plain(values: Mapping[str, Any]) -> RunConfig:
    """Build a configuration from nested plain data, refusing anything it does not know.

    Raises:
        ConfigError: On an unknown key, a wrong type, or a value its section rejects.
    """
    return build(RunConfig, values)


def _without_none(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        pairs = cast("Plain", value).items()
        return {key: _without_none(entry) for key, entry in pairs if entry is not None}
    if isinstance(value, (list, tuple)):
        return [_without_none(entry) for entry in cast("list[Any]", value)]
    return value
