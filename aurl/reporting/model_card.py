"""The model card of an export: data, metrics with intervals, how to load it, limitations."""

from collections.abc import Mapping
from typing import Any

from aurl.config import RunConfig
from aurl.data.corpus import Corpus

_LOAD = """```python
from pathlib import Path
from aurl.data.midi import write_midi
from aurl.reporting.export import load_export
trained = load_export(Path("."))
write_midi(trained.samples(1)[0], Path("sample.mid"))
```"""


def model_card(
    config: RunConfig, corpus: Corpus, metrics: Mapping[str, float], made_by: Mapping[str, Any]
) -> str:
    """The card as Markdown.

    Args:
        config: The model's configuration.
        corpus: The music it was trained on.
        metrics: Its metrics on the test split, under their full names.
        made_by: Where it comes from.
    """
    levels = ", ".join(
        f"{level.name} ({level.dim} dimensions, span {level.span})"
        for level in config.latent.levels
        if level.dim
    )
    rows = "\n".join(f"| `{name}` | {value:.4g} |" for name, value in sorted(metrics.items()))
    origin = "\n".join(f"- {key}: {value}" for key, value in made_by.items())
    n_test = min(len(corpus.indices("test")), config.evaluation.final_windows)
    return f"""# A variational autoencoder of symbolic music

A hierarchical Transformer VAE of windows of {corpus.n_bars} bars, made by aurl.

## Data

Corpus `{corpus.name}` ({len(corpus.piece_names)} pieces, fingerprint `{corpus.fingerprint}`).
Licence of the data: {corpus.licence}

## Model

Latent levels: {levels}. Width {config.model.d_model}, {config.model.encoder_layers} encoder and
{config.model.decoder_layers} decoder layers. Trained for {config.training.steps} steps of
{config.training.batch_size} windows; objective: {config.objective}.

## Metrics

On {n_test} windows of the test split, which was used neither for training nor for choosing the
configuration. `_nats` are nats per sequence. `/low` and `/high` bound 95 % intervals, by a
bootstrap over pieces. One training seed: differences between seeds are not in the intervals.

| metric | value |
|---|---|
{rows}

## Use

{_LOAD}

## Limitations

Trained on windows of {corpus.n_bars} bars of one corpus; it knows no longer form and no other
music. Its music is quantised to 24 ticks a quarter. A short search's best configuration is a start
for a full-size run (`aurl train`), not a finished model.

## Where it comes from

{origin}
"""
