"""The commands of the latent space, on the export of a small model and on MIDI files."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from aurl.analysis import maps, swaps
from aurl.analysis.names import Name, Names
from aurl.analysis.study import Study, spread
from aurl.analysis.subject import Subject
from aurl.cli import main
from aurl.config import to_plain
from aurl.data.corpus import save
from aurl.data.metrical import Metrical
from aurl.data.midi import read_midi, write_midi
from aurl.data.piece import NOTE, Piece
from aurl.files import read_json, write_json, write_yaml
from aurl.latent_commands import in_words
from aurl.model.densities import Mixture
from aurl.model.priors import Conditioner
from aurl.reporting import latent_tools
from aurl.reporting.export import TrainedModel
from aurl.training import checkpoint
from tests.test_musical import untrained
from tests.tiny import N_BARS, VOCABULARY, random_piece, small_config, tiny_corpus

LEVELS = [
    {"name": "global", "dim": 2, "span": "sequence"},
    {"name": "local", "dim": 1, "span": 1},
]
DEAD = "global/1"
ATTRIBUTES = (
    *("rhythm_density", "syncopation", "mean_pitch", "pitch_range"),
    *("contour", "polyphony", "pitch_class_entropy"),
)


def lively(trained: TrainedModel) -> TrainedModel:
    """An untrained model whose codes tell pieces apart, but for one of ``global``."""
    weights = trained.model.state_dict()
    for index, level in enumerate(trained.model.layout.levels):
        head = f"encoder.pooling.{index}.head"
        weights[f"{head}.weight"][: level.dim] *= 100.0
        weights[f"{head}.bias"][level.dim :] = -4.0
    weights["encoder.pooling.0.head.weight"][1] = 0.0
    return replace(trained, model=trained.model.eval())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus, two exports and two MIDI files."""
    folder = tmp_path_factory.mktemp("tools")
    save(tiny_corpus(), folder / "corpus")
    save(replace(tiny_corpus(), vocabulary=Metrical(), fingerprint=""), folder / "other")
    for name, context in (("export", []), ("keyed", ["key"])):
        config = small_config(
            data__corpus=str(folder / "corpus"), latent__context=context, latent__levels=LEVELS
        )
        trained = lively(untrained(config))
        write_yaml(folder / name / "config.yaml", to_plain(config))
        checkpoint.save_weights(folder / name / "model.safetensors", trained.model)
        about = {"vocabulary": VOCABULARY.to_dict(), "n_bars": N_BARS}
        about["max_tokens"] = trained.max_tokens
        write_json(folder / name / "vocabulary.json", about)
    rng = np.random.default_rng(5)
    for name in ("a.mid", "b.mid"):
        write_midi(random_piece(rng), folder / name)
    (folder / "broken.mid").write_bytes(b"MThd")
    return folder


@pytest.fixture
def run(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run a command that succeeds; what it prints."""
    monkeypatch.chdir(place)

    def run(*words: str) -> str:
        assert main(words) == 0
        return capsys.readouterr().out

    return run


def test_traverse_moves_the_live_dimensions_and_names_the_dead(run: Callable[..., str]) -> None:
    words = ("--steps", "2", "--width", "2", "--windows", "4", "--midi", "a.mid")
    told = run("traverse", "export", "--out", "moved", *words)
    found = read_json(Path("moved/traversal.json"))
    assert (found["steps"], found["windows"]) == ([-2.0, 2.0], 4)
    rows = {row["dimension"]: row for row in found["dimensions"]}
    assert list(rows) == ["global/0", "global/1", "local/0"]
    assert [name for name, row in rows.items() if not row["live"]] == [DEAD]
    assert "effects" not in rows[DEAD]
    assert rows[DEAD]["information_nats"] < 0.05 < rows["global/0"]["information_nats"]
    assert {path.name for path in Path("moved").glob("*.mid")} == {"global_0.mid", "local_0.mid"}
    sheet = read_midi(Path("moved/global_0.mid"))
    assert len(sheet.notes) > 0
    effects = rows["global/0"]["effects"]
    assert {effect["attribute"] for effect in effects} <= {*ATTRIBUTES}
    sizes = [abs(effect["size"]["mean"]) for effect in effects]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 0.0
    lines = told.splitlines()
    assert len(lines) == 5
    assert lines[1].startswith(f"{DEAD} ")
    assert lines[1].endswith("; dead")
    each = [effect for row in rows.values() for effect in row.get("effects", [])]
    certain = sum(effect["is_certain"] for effect in each)
    assert f"leaves 0 out: {certain} of {len(each)} are" in lines[3]
    assert found["training_windows"] == 64
    assert lines[3].endswith("Moved in 4 test windows; the rest is of 64 training windows.")
    assert lines[4] == "Written: moved. To see and hear: moved/sheet.html"


def test_an_effect_is_said_in_its_unit() -> None:
    effect = {"attribute": "metre", "unit": "changed", "size": {"mean": 0.25}}
    assert in_words(effect) == "metre in 0.25 of the windows"
    assert in_words({**effect, "unit": "deviations"}) == "metre +0.25"
    nothing = {"attribute": "contour", "unit": "deviations", "size": {"mean": -0.001}}
    assert in_words(nothing) == "contour +0.00"


def test_interpolate_goes_from_one_file_to_the_other(run: Callable[..., str]) -> None:
    words = ("interpolate", "export", "--steps", "5", "--json", "--midi")
    found = json.loads(run(*words, "a.mid", "b.mid", "--out", "path"))
    assert found == read_json(Path("path/interpolation.json"))
    assert found["path"] == "spherical"
    assert found["note_f1_to_first"][0] == found["note_f1_to_last"][-1] == 1.0
    assert 0.0 <= found["smoothness"] <= 1.0
    assert len(found["attributes"]["mean_pitch"]) == len(found["norm"]) == 5
    back = json.loads(run(*words, "b.mid", "a.mid", "--bar", "2", "--out", "back"))
    np.testing.assert_allclose(back["norm"], found["norm"][::-1])
    line = json.loads(run(*words, "a.mid", "b.mid", "--out", "line", "--path", "linear"))
    assert line["norm"][2] < found["norm"][2]


def test_interpolate_without_files_goes_between_test_windows(
    run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[np.ndarray] = []
    posterior = Subject.posterior

    def noted(own: Subject, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        chosen.append(windows)
        return posterior(own, windows)

    monkeypatch.setattr(Subject, "posterior", noted)
    words = ("interpolate", "export", "--steps", "2", "--out")
    first = run(*words, "first")
    assert first.startswith("path spherical, smoothness 1.00, note F1 to the first: 1.00 ")
    norms = [read_json(Path("first/interpolation.json"))["norm"]]
    for seed in ("0", "1"):
        run(*words, "other", "--seed", seed)
        norms.append(read_json(Path("other/interpolation.json"))["norm"])
    assert norms[0] == norms[1] != norms[2]
    ends = [tiny_corpus().piece[windows] for windows in chosen if len(windows) == 2]
    assert [len(set(pieces)) for pieces in ends] == [2, 2, 2]


def test_swap_of_a_level_gives_three_pieces_and_measures_on_pairs(run: Callable[..., str]) -> None:
    words = ("swap", "export", "--pairs", "4", "--midi")
    told = run(*words, "a.mid", "b.mid", "--level", "local", "--slot", "1", "--out", "slot")
    assert told.startswith("no attribute differs in enough of 4 pairs to say what follows\n")
    found = read_json(Path("slot/swap.json"))
    assert (found["level"], found["slot"], found["pairs"]) == ("local", 1, 4)
    assert {path.name for path in Path("slot").iterdir()} == {
        *("receiver.mid", "donor.mid", "swapped.mid", "swap.json", "sheet.html")
    }
    assert len(found["attributes"]["mean_pitch"]) == 3
    run(*words, "a.mid", "a.mid", "--level", "global", "--out", "self")
    receiver, donor, swapped = read_json(Path("self/swap.json"))["attributes"]["mean_pitch"]
    assert receiver == donor == swapped


def test_analyze_writes_names_directions_and_a_map(run: Callable[..., str]) -> None:
    told = run("analyze", "export", "--out", "all", "--windows", "3", "--wav", "--png")
    names, directions, drawn = (
        read_json(Path(f"all/{name}.json")) for name in ("names", "directions", "map")
    )
    assert [row["coordinate"] for row in names["coordinates"]] == [
        *("global/0", "global/1", "local/0 slot 0", "local/0 slot 1")
    ]
    assert "attribute" not in names["coordinates"][1]
    assert directions["directions"]
    for row in directions["directions"]:
        assert row["attribute"] in ATTRIBUTES
        assert row["r2"] <= 1.0
        assert row["vector"][1] == 0.0
        assert all(
            Path(f"all/{row['attribute']}.{end}").is_file() for end in ("mid", "wav", "png")
        )
        (line,) = [each for each in told.splitlines() if each.startswith(f"{row['attribute']} ")]
        assert line.startswith(f"{row['attribute']:20} held-out R2 {row['r2']:.2f}; ")
        own = [each for each in row["effects"] if each["attribute"] == row["attribute"]]
        assert line.count("moved by 1 it rises") == len(own)
    assert np.shape(drawn["points"]) == (len(drawn["windows"]), 2)
    assert "others tell no more than chance" in told
    found = json.loads(run("analyze", "export", "--out", "one", "--what", "names", "--json"))
    assert found == {"names": names}
    assert {path.name for path in Path("one").iterdir()} == {"names.json", "sheet.html"}


def test_what_dimensions_tell_is_listed_and_the_rest_counted(
    run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Names(names=[None, None, Name(attribute="contour", share=0.25), None], floor=0.125)
    monkeypatch.setattr(Study, "names", known)
    told = run("analyze", "export", "--out", "told", "--what", "names").splitlines()
    assert told[0].split() == ["local/0", "slot", "0", "contour", "0.25"]
    assert told[1] == "3 others tell no more than chance (0.12)"


WRONG = {
    "one step": (("traverse", "--steps", "1"), "--steps must be >= 2, got 1."),
    "steps without end": (("interpolate", "--steps", f"{10**12}"), "--steps must be <= 10000, g"),
    "no width": (("traverse", "--width", "nan"), "--width must be > 0 and at most 1000 standard"),
    "a width beyond numbers": (
        ("traverse", "--width", "1e308"),
        "--width must be > 0 and at most",
    ),
    "one window": (("analyze", "--windows", "1"), "--windows must be >= 2, got 1."),
    "one pair": (("swap", "--level", "local", "--pairs", "1"), "--pairs must be >= 2, got 1."),
    "no such level": (
        ("swap", "--level", "rhythm"),
        "--level must be one of global, local, got 'rhythm'.",
    ),
    "no such slot": (
        ("swap", "--level", "local", "--slot", "2"),
        "--slot must be in 0..1 of local, got 2.",
    ),
    "no such bar": (
        ("traverse", "--midi", "a.mid", "--bar", "3"),
        "--bar must be in 1..2, the bars of a.mid, got 3.",
    ),
    "a bar of no file": (
        ("swap", "--level", "local", "--bar", "2"),
        "--bar must come with --midi",
    ),
    "names from a file": (
        ("analyze", "--what", "names", "--midi", "none.mid"),
        "--midi must be left out with --what names: it has no effect.",
    ),
    "a map of no map": (
        ("analyze", "--what", "names", "--map", "umap"),
        "--map must be left out with --what names: it has no effect.",
    ),
    "a draw from a file": (
        ("swap", "--level", "local", "--midi", "a.mid", "b.mid", "--seed", "3"),
        "--seed must be left out with --midi: it draws test windows.",
    ),
    "a file that is not there": (
        ("traverse", "--midi", "none.mid"),
        "none.mid cannot be read: unreadable: No such file",
    ),
    "a file that is broken": (("traverse", "--midi", "broken.mid"), "broken.mid cannot be read"),
    "one file for a path": (
        ("interpolate", "--midi", "a.mid"),
        "argument --midi: expected 2 arguments",
    ),
    "data in other tokens": (
        ("reconstruct", "--data", "other"),
        "--data must be windows of 2 bars in the model's tokens, got tiny of 2 in Metrical(",
    ),
    "data that is not there": (("analyze", "--data", "nowhere"), "nowhere does not exist."),
}


def refused(
    words: Sequence[str], model: str, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    try:
        code = main([words[0], model, "--out", "new", *words[1:]])
    except SystemExit as error:
        code = int(str(error.code))
    given = capsys.readouterr()
    assert given.out == ""
    assert given.err.count("\n") == 1, given.err
    return code, given.err


@pytest.mark.parametrize(("words", "message"), WRONG.values(), ids=list(WRONG))
def test_a_wrong_wish_is_one_line_and_leaves_nothing(
    *,
    words: tuple[str, ...],
    message: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(place)
    code, told = refused(words, "export", capsys)
    assert (code, told.startswith(f"aurl: {message}")) == (2, True), told
    assert not (place / "new").exists()


def test_what_a_model_cannot_do_is_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    code, told = refused(("interpolate", "--path", "prior"), "keyed", capsys)
    assert (code, told) == (
        2,
        "aurl: --path must be linear or spherical for a model with latent.context, got prior.\n",
    )
    code, told = refused(("traverse",), "corpus", capsys)
    assert (code, told.startswith("aurl: EXPORT must be a folder")) == (2, True)

    def missing(name: str) -> None:
        del name

    monkeypatch.setattr(maps, "find_spec", missing)
    code, told = refused(("analyze", "--what", "map", "--map", "umap"), "export", capsys)
    assert (code, told.startswith("aurl: --map must be pca where umap-learn")) == (2, True)


SILENT_CODE = np.array([0.3, 99.0, 0.0, 0.0])
"""Of which only a low note is heard, whatever else the code is."""


@pytest.fixture
def sung(monkeypatch: pytest.MonkeyPatch) -> Study:
    """A study whose music is one note, ten semitones higher for each deviation of ``global/0``."""
    config = small_config(latent__levels=LEVELS)
    study = Study(Subject(lively(untrained(config)).model, tiny_corpus()))
    deviation = study.aggregate.std[0]

    def pieces(_: Subject, z: np.ndarray) -> list[Piece]:
        notes = np.zeros((len(z), 1), NOTE)
        high = np.clip(60 + np.round(10.0 * z[:, 0] / deviation), 0, 127)
        notes["pitch"] = np.where(z[:, 1] > 50.0, 24, high)[:, None]
        notes["duration"], notes["velocity"] = 24, 80
        return [Piece(ticks_per_quarter=24, notes=each, length=192) for each in notes]

    monkeypatch.setattr(Subject, "pieces", pieces)
    return study


def effect_of(row: dict[str, list[dict[str, dict[str, float]]]]) -> float:
    (found,) = [each["size"] for each in row["effects"] if each["attribute"] == "mean_pitch"]
    return found["mean"]


def test_effects_are_of_the_test_windows_and_music_of_the_code_given(
    sung: Study, tmp_path: Path
) -> None:
    steps = np.array([-2.0, 0.0, 2.0])
    found = latent_tools.write_traversal(sung, SILENT_CODE, tmp_path, steps=steps, windows=6)
    readings = sung.subject.readings
    scale = sung.ground(readings, sung.windows).scale[readings.names.index("mean_pitch")]
    rows = {row["dimension"]: row for row in found["dimensions"]}
    assert effect_of(rows["global/0"]) == pytest.approx(10.0 / scale)
    assert effect_of(rows["local/0"]) == 0.0
    assert set(read_midi(tmp_path / "global_0.mid").notes["pitch"]) == {24}
    found = latent_tools.write_directions(sung, SILENT_CODE, tmp_path, windows=6)
    (row,) = [each for each in found["directions"] if each["attribute"] == "mean_pitch"]
    assert np.sign(effect_of(row)) == np.sign(row["vector"][0])


def test_a_receiver_gets_the_part_that_is_swapped_of_its_donor(
    sung: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(swaps, "LEAST_CASES", 4)
    ends = sung.subject.posterior(sung.drawn("test", 2))[0]
    for level, (followed, stayed), same in (("global", (1, 0), 1), ("local", (0, 1), 0)):
        found = latent_tools.write_swap(sung, ends, tmp_path, part=(level, None), pairs=16)
        *pitches, swapped = found["attributes"]["mean_pitch"]
        assert pitches[0] != pitches[1]
        assert swapped == pitches[same]
        (share,) = [each for each in found["shares"] if each["attribute"] == "mean_pitch"]
        assert (share["followed"]["mean"], share["stayed"]["mean"]) == (followed, stayed)


def test_a_path_has_the_lengths_of_its_codes_and_a_map_its_own_windows(
    sung: Study, tmp_path: Path
) -> None:
    ends = np.array([[3.0, 4.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
    found = latent_tools.write_interpolation(sung, ends, tmp_path, kind="linear", steps=2)
    assert found["norm"] == pytest.approx([5.0, 1.0])
    found = latent_tools.write_map(sung, tmp_path, kind="pca")
    pitches = np.asarray(found["attributes"]["mean_pitch"])
    column = tiny_corpus().attribute_names.index("mean_pitch")
    assert (pitches == tiny_corpus().attributes[found["windows"], column]).all()


def test_a_study_is_of_the_same_windows_for_every_model_and_knows_its_music() -> None:
    corpus = tiny_corpus()
    first, second = (
        Study(Subject(lively(untrained(small_config(seed=seed))).model, corpus)) for seed in (0, 1)
    )
    np.testing.assert_array_equal(first.windows, second.windows)
    assert set(first.windows) == set(corpus.indices("train"))
    readings = first.subject.readings
    ground = first.ground(readings, corpus.indices("test"))
    at = corpus.attribute_names.index("mean_pitch")
    own = readings.names.index("mean_pitch")
    expected = corpus.attributes[first.windows, at].astype(np.float64).std()
    assert ground.scale[own] == pytest.approx(expected, rel=1e-5)
    np.testing.assert_array_equal(ground.pieces, corpus.piece[corpus.indices("test")])
    with torch.no_grad():
        variance = first.mean.var(axis=0) + np.exp(first.log_var).mean(axis=0)
    np.testing.assert_allclose(first.aggregate.std, np.sqrt(variance))
    fewer = Study(first.subject, studied=3)
    np.testing.assert_array_equal(fewer.windows, first.windows[:3])
    known = np.asarray([[1.0, np.nan, np.nan], [3.0, 4.0, np.nan]])
    assert spread(known).tolist() == [1.0, 0.0, 0.0], "of those that show it"


def test_a_dimension_tells_what_its_codes_say_and_lives_from_five_hundredths_of_a_nat() -> None:
    study = Study(Subject(untrained(small_config()).model, tiny_corpus()))
    mean = np.random.default_rng(0).normal(size=(len(study.windows), study.subject.layout.size))
    mean = (mean - mean.mean(axis=0)) / mean.std(axis=0)
    mean[:, 1] *= 0.07  # 0.047 nats
    mean[:, 2] *= 0.1  # 0.092 nats
    study.__dict__["_posterior"] = mean, np.full(mean.shape, -3.0)
    assert study.live.tolist() == [True, False, True] + [True] * 6
    assert study.information[3:].mean() == pytest.approx(1.52, abs=0.15), "as of so many Gaussians"
    slots: list[Name | None] = [None] * len(mean[0])
    slots[4], slots[7] = Name(attribute="low", share=0.2), Name(attribute="high", share=0.5)
    study.__dict__["names"] = Names(names=slots, floor=0.1)
    assert study.tells == [None] * 4 + [slots[7]] + [None] * 4, "two slots of one dimension"


@pytest.mark.parametrize("kind", ["standard", "mixture"])
def test_a_dimension_that_the_prior_knows_is_dead_in_a_study_as_in_kl_health(kind: str) -> None:
    levels = [{"name": "global", "dim": 1}, {"name": "local", "dim": 1}]
    config = small_config(latent__levels=levels, latent__top_down=True, latent__prior__kind=kind)
    study = Study(Subject(untrained(config).model, tiny_corpus()))
    for module in study.subject.model.modules():
        if isinstance(module, Mixture):  # of standard normals
            module.means.data.zero_()
            module.log_variances.data.fill_(math.log(1.0 - Mixture.VARIANCE_FLOOR))
    conditioner = study.subject.model.prior.levels[1].get_submodule("conditioner")
    assert isinstance(conditioner, Conditioner)
    weights = torch.zeros(2, 64, dtype=torch.float64)
    weights[0, :2] = torch.tensor([1.0, -1.0])  # silu(x) - silu(-x) = x: what is above, again
    conditioner.output.weight.data = weights
    conditioner.hidden.weight.data[:2] = torch.tensor([[1.0], [-1.0]])
    conditioner.hidden.bias.data.zero_()
    mean = np.random.default_rng(0).normal(size=(len(study.windows), 1)).repeat(2, axis=1)
    study.__dict__["_posterior"] = mean, np.full(mean.shape, [-9.0, 0.0])
    assert study.live.tolist() == [True, False], "told by the code above, it costs nothing"


def test_a_dimension_pays_at_most_what_its_slot_does(monkeypatch: pytest.MonkeyPatch) -> None:
    levels = [{"name": "global", "dim": 2}]
    config = small_config(latent__levels=levels, latent__prior__kind="mixture")
    study = Study(Subject(untrained(config).model, tiny_corpus()))
    mean = np.random.default_rng(0).normal(size=(len(study.windows), 2))
    study.__dict__ |= {"_posterior": (mean, np.full(mean.shape, -3.0)), "_information": np.ones(2)}
    monkeypatch.setattr(Subject, "kl", lambda *_: np.array([5.0, -4.97]))
    assert study.live.tolist() == [False, False]


def test_the_kl_of_a_study_is_a_mean_over_windows_by_a_prior_that_is_told_the_context() -> None:
    model = untrained(small_config(latent__context=["metre"])).model
    windows = tiny_corpus().indices("train")[:2]
    mean = np.full((2, len(model.layout.slot)), 3.0)
    kl = Subject(model, tiny_corpus()).kl(windows, (mean, np.zeros_like(mean)), mean)
    assert kl == pytest.approx(4.5, rel=0.2), "3^2 / 2, if the context moves nothing yet"
