"""The model card of an export: data, metrics with intervals, how to load it, limitations."""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from aurl.config import RunConfig, to_plain
from aurl.data.corpus import Corpus
from aurl.data.events import Events
from aurl.latent_config import LevelConfig
from aurl.metrics.musical_evaluation import HISTOGRAMS, SCALARS
from aurl.plain import dotted
from aurl.reporting.musical import MUSIC
from aurl.reporting.tables import digits

CORRELATIONS = "test/factors/correlation/"
"""Left to metrics.json: of the music, not of the model."""

BOUNDS = ("/low", "/high")
"""Endings of the names of a metric's interval."""

_LOAD = """```python
import aurl
model = aurl.load(".")  # the folder that holds this file
codes = model.encode(model.sample(2))  # or MIDI files; a row for each window of {bars}
model.write(model.decode(codes), "decoded.mid")
model.write(model.interpolate(codes[0], codes[1], steps=7), "between.mid")
```"""


def model_card(
    config: RunConfig, corpus: Corpus, metrics: Mapping[str, float], made_by: Mapping[str, Any]
) -> str:
    """The card as Markdown.

    Args:
        config: The model's configuration.
        corpus: The music it was trained on.
        metrics: Its metrics on the test split, under their full names.
        made_by: Where it comes from, and at which ``step`` it is.
    """
    levels = ", ".join(_level(level) for level in config.latent.levels if level.dim)
    shown = {
        name: value
        for name, value in sorted(metrics.items())
        if not name.startswith((MUSIC, CORRELATIONS))
    }
    rows = "\n".join(
        f"| `{name}` | {digits(value)} | {_interval(name, shown)} |"
        for name, value in shown.items()
        if not name.endswith(BOUNDS)
    )
    settings = ", ".join(f"`{key}` {value}" for key, value in _chosen(config).items()) or "none"
    origin = "\n".join(f"- {key}: {_said(value)}" for key, value in made_by.items())
    planned = config.training.steps
    step = made_by.get("step", planned)
    steps = f"{planned}" if step == planned else f"{step} of {planned}"
    bars = f"{corpus.n_bars} bars"
    if isinstance(corpus.vocabulary, Events):
        bars += " of two seconds"
    n_test = min(len(corpus.indices("test")), config.evaluation.final_windows)
    fewer = _fewer(metrics, n_test)
    return f"""# A variational autoencoder of symbolic music

A hierarchical Transformer VAE of windows of {bars}, made by aurl.

## Data

Corpus `{corpus.name}` ({len(np.unique(corpus.piece))} pieces, fingerprint `{corpus.fingerprint}`).
Licence of the data: {corpus.licence}

## Model

Latent levels: {levels}. Width {config.model.d_model}, {config.model.encoder_layers} encoder and
{config.model.decoder_layers} decoder layers. Trained for {steps} steps of
{config.training.batch_size} windows. Settings of its latent space and objective beside
the defaults: {settings}. `config.yaml` holds all.

## Metrics

On {n_test} windows of the test split, which was used neither for training nor for choosing the
configuration{fewer}. `_nats` are nats per sequence. Intervals are of 95 %, by a bootstrap over
pieces. One training seed: differences between seeds are not in the intervals.

| metric | value | 95 % interval |
|---|---|---|
{rows}

{_music(metrics)}
## Use

{_LOAD.format(bars=bars)}

## Limitations

Trained on windows of {bars}, of one corpus; it knows no longer form and no other
music. Its music is quantised to the steps of its vocabulary. A short search's best configuration
is a start for a full-size run (`aurl train`), not a finished model.

## Where it comes from

{origin}
"""


def _fewer(metrics: Mapping[str, float], n_test: int) -> str:
    """What was measured on the first of the windows only, if anything was."""
    sizes = {
        "reconstructions": "reconstruction scores and accuracy of sequences",
        "importance_windows": "importance-weighted bounds",
        "level_windows": "use and KL health of single levels",
    }
    told = [
        f"{what} on {n:.0f}"
        for name, what in sizes.items()
        if (n := metrics.get(f"test/{name}", n_test)) < n_test
    ]
    return f"; of these, {', '.join(told)}" if told else ""


def _level(level: LevelConfig) -> str:
    """A level with what it has of its own."""
    said = [f"{level.dim} dimensions", f"span {level.span}"]
    said += [f"prior {level.prior}"] * (level.prior is not None)
    said += [f"{level.free_nats or 0.0:g} nats free"] * (level.free_nats is not None)
    said += [f"opens at {level.opens:g} of training"] * (level.opens > 0.0)
    return f"{level.name} ({', '.join(said)})"


def _interval(name: str, metrics: Mapping[str, float]) -> str:
    """The interval of a metric, or nothing if it has none."""
    places = (name, name.replace("test/", "test/factors/", 1))
    for place in places:
        low, high = (metrics.get(f"{place}{bound}") for bound in BOUNDS)
        if low is not None and high is not None:
            return f"{low:.4g} to {high:.4g}"
    return ""


def _chosen(config: RunConfig) -> dict[str, Any]:
    """The settings of objective and latent space, levels aside, that differ from the defaults."""
    defaults = dotted(to_plain(RunConfig()))
    return {
        key: f"{value:.4g}" if isinstance(value, float) else value
        for key, value in dotted(to_plain(config)).items()
        if key.startswith(("objective.", "latent.")) and key != "latent.levels"
        if value != defaults.get(key)
    }


def _music(metrics: Mapping[str, float]) -> str:
    """The section on what the model makes up."""
    rows = "\n".join(_music_row(name, metrics) for name in ("", *SCALARS, *HISTOGRAMS))
    draws, windows = (metrics[f"{MUSIC}{name}"] for name in ("samples", "windows"))
    valid, of_data, of_control = (
        metrics[f"{MUSIC}harmonic_progression_validity{whose}"]
        for whose in ("", "/data", "/control")
    )
    return f"""## Music from the prior

{draws:.0f} draws at temperature 1, held against {windows:.0f} windows of the test split. Overlap
1 is the same distribution; as many windows of the training split reach the control. KL is
KL(data ‖ draws) in nats. No value is better for being high: what counts is how near it is to the
data's.

| | draws | data | overlap (95 %) | control | KL | control |
|---|---|---|---|---|---|---|
{rows}

Chord progressions as plausible as 95 % of the data's: {valid:.3f} of the draws, {of_data:.3f} of
the data, {of_control:.3f} of the control.
"""


def _music_row(name: str, metrics: Mapping[str, float]) -> str:
    start = f"{MUSIC}{name}/" if name else MUSIC

    def shown(key: str) -> str:
        return f"{metrics[key]:.3f}" if key in metrics else ""

    overlap = [shown(f"{start}overlap{end}") for end in ("", "/low", "/high", "/control")]
    kl = [shown(f"{start}kl_nats{end}") for end in ("", "/control")]
    means = [shown(f"{MUSIC}{name}"), shown(f"{MUSIC}{name}/data")]
    interval = f"{overlap[0]} [{overlap[1]}, {overlap[2]}]"
    label = f"`{name}`" if name else "mean of all"
    return f"| {' | '.join([label, *means, interval, overlap[3], *kl])} |"


def _said(value: Any) -> str:  # noqa: ANN401
    """Plain data in one line of text."""
    if isinstance(value, Mapping):
        pairs = cast("Mapping[str, Any]", value).items()
        return ", ".join(f"{key} {_said(each)}" for key, each in pairs)
    if isinstance(value, list):
        return ", ".join(f"`{each}`" for each in cast("list[Any]", value))
    return str(value)
