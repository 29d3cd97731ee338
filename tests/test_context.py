"""Musical context: read, drawn, followed through augmentation, refused where it means nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from aurl.cli import main
from aurl.config import AugmentationConfig, to_plain
from aurl.data.attributes import ATTRIBUTES, attributes
from aurl.data.batches import TokenStore, TrainingBatches
from aurl.data.context import CLASSES, check_context, context_classes, in_words, parse_context
from aurl.data.corpus import Corpus
from aurl.data.metrical import Metrical
from aurl.data.metrical_layout import METRES, Kind, tempos
from aurl.data.piece import Tempo
from aurl.data.tokenizer import encode
from aurl.errors import ConfigError, DataError
from aurl.files import write_json, write_yaml
from aurl.latent_config import ContextName
from aurl.model.context import ContextTable
from aurl.model.vae import Vae
from aurl.reporting import export as exports
from aurl.seeding import seeded
from aurl.training import checkpoint
from aurl.training.evaluate import Evaluator
from aurl.training.fits import check_fits
from aurl.training.loop import Run, Trainer
from aurl.training.workers import Workers
from tests.tiny import N_BARS, VOCABULARY, random_piece, small_config, tiny_corpus

ALL: tuple[ContextName, ...] = ("key", "mode", "metre", "tempo")
SIX_EIGHT, TWO_FOUR = METRES.index((6, 8)), METRES.index((2, 4))


def test_classes_are_read_from_attributes_and_what_is_none_is_unknown() -> None:
    names = ("tempo", "metre", "tonic", "mode")
    rows = np.array(
        [[120.0, SIX_EIGHT, 2.0, 1.0], [np.nan] * 4, [0.0, len(METRES) + 1, 13.0, -1.0]]
    )
    classes = context_classes(rows, names, ALL)
    assert [
        in_words(name, value) for name, value in zip(ALL, classes[0].tolist(), strict=True)
    ] == [
        "D",
        "minor",
        "6/8",
        "125",
    ]
    assert classes[1:].tolist() == [[CLASSES[name] for name in ALL]] * 2
    with pytest.raises(DataError, match=r"must name what the corpus knows, got tempo"):
        context_classes(rows[:, 1:], names[1:], ("tempo",))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("key=Dm,metre=6/8", {"key": 2, "mode": 1, "metre": SIX_EIGHT}),
        ("key=Bb", {"key": 10, "mode": 0}),
        ("key=Cb", {"key": 11, "mode": 0}),
        ("key=F#m", {"key": 6, "mode": 1}),
        ("mode=minor, metre=2/4", {"mode": 1, "metre": TWO_FOUR}),
        ("tempo=125", {"tempo": 21}),
    ],
)
def test_a_context_is_read_as_musicians_write_it(text: str, expected: dict[str, int]) -> None:
    assert parse_context(text, ALL) == expected


@pytest.mark.parametrize(
    ("text", "names", "message"),
    [
        ("key", ALL, r"--context must be NAME=VALUE,\.\.\., got 'key'"),
        ("swing=1", ALL, r"trained with \(key, mode, metre, tempo\), got swing"),
        ("metre=6/8", ("key",), r"trained with \(key\), got metre"),
        ("metre=6/8", (), r"\(none: latent\.context was empty\), got metre"),
        ("key=H", ALL, r"--context key must be such as D, Bb or F#m, got 'H'"),
        ("key=Dm", ("key",), r"a tonic such as D, got Dm: .* not trained with the context mode"),
        ("key=D,mode=minor", ALL, r"must give mode once, got it twice"),
        ("metre=5/7", ALL, r"--context metre must be such as 6/8, got '5/7'"),
        ("mode=dorian", ALL, r"--context mode must be major or minor, got 'dorian'"),
        ("tempo=fast", ALL, r"--context tempo must be quarters a minute, got 'fast'"),
    ],
)
def test_an_unreadable_context_is_refused(
    text: str, names: tuple[ContextName, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_context(text, names)


def taught() -> ContextTable:
    table = ContextTable(("key", "mode"))
    rows = [[2, 0]] * 60 + [[2, 1]] * 40 + [[9, 0]] * 200 + [[7, 1]] * 20 + [[5, 0]] * 19
    rows += [[CLASSES["key"], CLASSES["mode"]]] * 30
    table.teach(torch.tensor(rows), transpose=0, tempo=0)
    return table


def test_what_is_not_asked_for_is_drawn_as_often_as_it_occurs_with_what_is() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = taught().draw(4000, {"key": 2}, generator)
    assert (drawn[:, 0] == 2).all()
    assert drawn[:, 1].double().mean().item() == pytest.approx(0.4, abs=0.03)
    with pytest.raises(ConfigError, match=r"got key=A,mode=minor: no window has all of it"):
        taught().draw(1, {"key": 9, "mode": 1}, generator)


def test_a_value_that_the_music_hardly_has_is_refused() -> None:
    taught().check({"key": 7})
    with pytest.raises(
        ConfigError, match=r"teaches \(A, D, G\), got F: it is in 19 of its windows"
    ):
        taught().check({"key": 5})
    with pytest.raises(ConfigError, match=r"teaches \(none\), got minor: it is in 0 of"):
        ContextTable(("mode",)).check({"mode": 1})


def test_transposition_teaches_the_keys_it_reaches() -> None:
    table = ContextTable(("key",))
    table.teach(torch.tensor([[0]] * 30 + [[12]] * 5), transpose=1, tempo=0)
    expected = torch.zeros(13)
    expected[[11, 0, 1]] = 10.0
    expected[12] = 5.0
    torch.testing.assert_close(table.frequencies("key"), expected)


def test_a_shift_of_tempo_teaches_the_tempos_it_reaches() -> None:
    table = ContextTable(("tempo",))
    fastest = CLASSES["tempo"] - 1
    table.teach(torch.tensor([[fastest - 1]] * 50), transpose=0, tempo=2)
    expected = torch.zeros(CLASSES["tempo"] + 1)
    expected[fastest - 3 : fastest + 1] = 10.0
    expected[fastest - 1] = 20.0  # two bins faster there is none, and the window stays as it is
    torch.testing.assert_close(table.frequencies("tempo"), expected)


def keyed_corpus() -> Corpus:
    corpus = tiny_corpus()
    attributes = np.asarray(corpus.attributes).copy()
    attributes[:, corpus.attribute_names.index("tonic")] = np.arange(len(corpus)) % 5
    attributes[:, corpus.attribute_names.index("metre")] = np.where(
        np.arange(len(corpus)) % 2, SIX_EIGHT, TWO_FOUR
    )
    return replace(corpus, attributes=attributes, fingerprint="")


def test_the_key_follows_a_transposed_window() -> None:
    corpus = keyed_corpus()
    store = TokenStore(corpus, context=("key", "metre"))
    plain, moved = (
        TrainingBatches(corpus, store, AugmentationConfig(transpose=by), batch_size=16, seed=0)
        for by in (0, 4)
    )
    for step in range(3):
        (before, old), (after, new) = plain.with_context(step), moved.with_context(step)
        pitches = VOCABULARY.transposed
        for row in range(len(before)):
            by = int(new[row, 0] - old[row, 0] + 6) % 12 - 6
            assert torch.equal(pitches(before[row : row + 1], torch.tensor([by]))[0], after[row])
        assert torch.equal(old[:, 1], new[:, 1])
        assert not torch.equal(old[:, 0], new[:, 0])


def test_the_tempo_follows_a_window_that_is_played_faster_and_stays_where_none_is() -> None:
    vocabulary = Metrical(velocity_bins=0, programs=False)
    rng = np.random.default_rng(0)
    speeds = [((1, 16, 29)[index % 3], (0, 16, 31)[index % 3]) for index in range(96)]
    pieces = [
        replace(
            random_piece(rng),
            tempos=tuple(Tempo(tick=96 * bar, bpm=tempos()[at]) for bar, at in enumerate(each)),
        )
        for each in speeds
    ]
    tokens = [encode(piece, vocabulary) for piece in pieces]
    columns = np.stack([attributes(piece) for piece in pieces]).astype(np.float32)
    columns[:, ATTRIBUTES.index("tonic")] = 0.0
    corpus = replace(
        tiny_corpus(),
        vocabulary=vocabulary,
        tokens=np.concatenate(tokens).astype(np.uint16),
        offsets=np.cumsum([0, *map(len, tokens)]),
        attributes=columns,
    )
    store = TokenStore(corpus, context=("key", "tempo"))
    changes = AugmentationConfig(transpose=4, tempo=4)
    made = TrainingBatches(corpus, store, changes, batch_size=64, seed=0)
    moved, context = made.with_context(0)
    ids = vocabulary.ids(Kind.TEMPO)
    written = (moved >= ids.start) & (moved < ids.stop)
    at_first = moved.gather(1, written.int().argmax(dim=1, keepdim=True))[:, 0]
    assert torch.equal(at_first - ids.start, context[:, 1])
    by = context - store.context[torch.from_numpy(made.windows_at(0))]
    assert set(by[:, 1].tolist()) == set(range(-4, 5))
    keys, bins = by[(by != 0).all(dim=1)].T
    assert not torch.equal((keys + 6) % 12 - 6, bins)  # each has draws of its own


def test_the_key_stays_where_a_window_would_leave_the_range_of_pitches() -> None:
    corpus = keyed_corpus()
    tokens = corpus.tokens.copy()
    pitches = VOCABULARY.ids(Kind.PITCH)
    tokens[(tokens >= pitches.start) & (tokens < pitches.stop)] = pitches.stop - 1
    corpus = replace(corpus, tokens=tokens, fingerprint="")
    store = TokenStore(corpus, context=("key",))
    plain, moved = (
        TrainingBatches(corpus, store, AugmentationConfig(transpose=by), batch_size=16, seed=0)
        for by in (0, 4)
    )
    (before, old), (after, new) = plain.with_context(0), moved.with_context(0)
    stayed = (before == after).all(dim=1)
    assert 0 < stayed.sum() < len(stayed)
    assert torch.equal(old[stayed], new[stayed])
    assert (old[~stayed] != new[~stayed]).all()


def test_a_context_that_does_not_vary_is_refused_before_training() -> None:
    with pytest.raises(ConfigError, match=r"got metre: 100\.0 % of the training windows"):
        check_fits(small_config(latent__context=["metre"]), tiny_corpus(), 1)
    check_fits(small_config(latent__context=["metre"]), keyed_corpus(), 1)
    elsewhere = keyed_corpus()
    metres = elsewhere.attributes[:, elsewhere.attribute_names.index("metre")]
    metres[elsewhere.split == 0] = TWO_FOUR
    with pytest.raises(ConfigError, match=r"got metre: 100\.0 % of the training windows"):
        check_fits(small_config(latent__context=["metre"]), elsewhere, 1)
    rows = np.array([[120.0]] * 19 + [[60.0]])
    check_context(rows, ("tempo",), ("tempo",))
    with pytest.raises(ConfigError, match=r"got tempo: 95\.2 % of the training windows"):
        check_context(np.append(rows[:1], rows, axis=0), ("tempo",), ("tempo",))


@pytest.mark.parametrize("kind", ["standard", "mixture", "planar", "spline"])
def test_every_prior_trains_and_is_evaluated(kind: str, tmp_path: Path) -> None:
    config = small_config(
        latent__prior__kind=kind, latent__top_down=True, latent__context=["key", "metre"]
    )
    corpus = keyed_corpus()
    trainer = Trainer(Run(config=config, corpus=corpus, checkpoint_folder=tmp_path), Workers())
    for _ in range(3):
        trainer.take_step()
    evaluator = Evaluator(corpus, trainer.store, config, split="val")
    values = evaluator.evaluate(trainer.model, final=True)
    assert np.isfinite(values["val/kl_health"])
    levels = sum(values[f"val/kl_nats/{name}"] for name in ("global", "local", "fine"))
    assert values["val/kl_nats"] == pytest.approx(levels)


def export_of(folder: Path, effect: float) -> Path:
    """A model as `aurl sample` reads one, whose context moves its prior by so much."""
    config = small_config(latent__context=["key", "metre"])
    with seeded(0, "test"):
        model = Vae(config, VOCABULARY, N_BARS)
    table = model.prior.context
    assert table is not None
    with torch.no_grad():
        for name, parameter in model.prior.named_parameters():
            if name.endswith("conditioner.output.weight"):
                parameter.mul_(100.0 * effect)
    classes = TokenStore(keyed_corpus(), context=("key", "metre")).context
    table.teach(classes.repeat(4, 1), transpose=0, tempo=0)
    folder.mkdir()
    write_yaml(folder / "config.yaml", to_plain(config))
    about = {"vocabulary": VOCABULARY.to_dict(), "n_bars": N_BARS, "max_tokens": 64}
    write_json(folder / "vocabulary.json", about)
    checkpoint.save_weights(folder / "model.safetensors", model)
    return folder


def test_samples_of_a_context_are_written_and_the_same_for_the_same_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = export_of(tmp_path / "export", effect=1.0)
    for out in ("a", "b", "c"):
        words = [
            "sample",
            str(export),
            "--n",
            "3",
            "--context",
            "key=D,metre=6/8",
            "--top-p",
            "0.9",
            "--wav",
            "--png",
        ]
        words += ["--out", str(tmp_path / out), "--seed", "1" if out == "c" else "0"]
        assert main(words) == 0
    assert "key=D moves the prior by" in capsys.readouterr().out
    a, b, c = ([path.read_bytes() for path in sorted((tmp_path / out).iterdir())] for out in "abc")
    assert len(a) == 9
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert {"sample_002.mid", "sample_002.wav", "sample_002.png"} <= names
    assert a == b
    assert a != c


def test_each_block_of_samples_has_contexts_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = exports.load_export(export_of(tmp_path / "export", effect=1.0))
    told: list[torch.Tensor] = []

    def block(*given: Any) -> torch.Tensor:
        told.append(given[3])
        return torch.zeros(exports.BLOCK, 1)

    monkeypatch.setattr(exports, "prior_block", block)
    monkeypatch.setattr(exports, "played", lambda *_, **__: [])
    trained.samples(exports.BLOCK + 1, given={"metre": METRES.index((6, 8))})
    first, second = told
    assert torch.equal(first[:, 1], second[:, 1])
    assert not torch.equal(first[:, 0], second[:, 0])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--context", "tempo=90"], "--context must name what the model was trained with"),
        (["--context", "key=Bb"], "--context key must be one that the training music teaches"),
        (["--context", "key=D"], "got D: it moves the prior of this model by 0.026 nats. Train"),
        (["--top-p", "0"], "--top-p must be in (0, 1], got 0.0"),
        (["--temperature", "-1"], "--temperature must be >= 0, got -1.0"),
    ],
)
def test_what_cannot_be_sampled_is_one_line(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = export_of(tmp_path / "export", effect=0.2)
    assert main(["sample", str(export), "--out", str(tmp_path / "out"), *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_effect_is_that_of_the_context_asked_for_alone() -> None:
    """Metres far apart, each of half the windows, tell their samples by log 2; keys by nothing."""
    config = small_config(latent__context=["key", "metre"])
    with seeded(0, "test"):
        model = Vae(config, VOCABULARY, N_BARS).double()
    table = model.prior.context
    assert table is not None
    rows = [[key, metre] for key in (0, 7) for metre in (SIX_EIGHT, TWO_FOUR)] * 25
    table.teach(torch.tensor(rows), transpose=0, tempo=0)
    generator = torch.Generator().manual_seed(0)
    assert abs(model.prior.effect_nats({"metre": SIX_EIGHT}, "metre", generator)) < 0.01
    with torch.no_grad():
        for name, parameter in model.prior.named_parameters():
            if name.endswith("conditioner.output.weight"):
                parameter.mul_(300.0)
            if name.endswith("conditioner.hidden.weight"):
                parameter[:, : CLASSES["key"] + 1] = 0.0
    asked: list[dict[ContextName, int]] = [{"key": 0}, {"key": 0, "metre": SIX_EIGHT}]
    for given in asked:
        effects = {
            name: model.prior.effect_nats(given, name, generator)
            for name in table.names
            if name in given
        }
        assert effects.pop("key") == pytest.approx(0.0, abs=1e-9)
        assert all(found == pytest.approx(np.log(2.0), abs=0.1) for found in effects.values())
