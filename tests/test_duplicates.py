import hashlib
from dataclasses import replace

import numpy as np
import pytest
from made_pieces import random_tune, tune

from aurl.data.duplicates import content_key, grouped, opening_key, split_of_groups
from aurl.data.piece import Piece
from aurl.errors import DataError


def moved(piece: Piece, *, semitones: int = 0, times: int = 1, velocity: int = 80) -> Piece:
    notes = piece.notes.copy()
    notes["pitch"] += semitones
    notes["onset"] *= times
    notes["duration"] *= times
    notes["velocity"] = velocity
    return replace(piece, notes=notes)


def names(count: int) -> list[str]:
    return [hashlib.sha256(str(index).encode()).hexdigest() for index in range(count)]


def test_content_is_what_is_played_however_loud_and_whatever_it_is_called() -> None:
    piece = random_tune(0)
    assert content_key(replace(moved(piece, velocity=20), name="x")) == content_key(piece)
    assert content_key(moved(piece, semitones=1)) != content_key(piece)
    assert content_key(moved(piece, times=2)) != content_key(piece)
    longer = moved(piece)
    longer.notes["duration"][-1] += 1
    assert content_key(longer) != content_key(piece)


def test_an_opening_is_the_same_in_every_key_and_at_every_speed() -> None:
    piece = random_tune(0)
    other = moved(piece, semitones=5, times=2)
    assert opening_key(other) == opening_key(piece)
    assert opening_key(random_tune(1)) != opening_key(piece)


def test_an_opening_is_heard_over_chords_and_drums() -> None:
    melody = random_tune(0)
    chords = melody.notes.copy()
    chords["pitch"] = 36  # a drone
    drums = melody.notes.copy()
    drums["is_drum"], drums["pitch"] = True, 100
    notes = np.concatenate([chords, melody.notes, drums])
    order = np.argsort(notes, order=["onset", "is_drum", "program", "pitch"])
    assert opening_key(replace(melody, notes=notes[order])) == opening_key(melody)
    assert opening_key(replace(melody, notes=drums)) == opening_key(tune([100] * 64))


def test_an_opening_is_the_steps_between_the_first_seventeen_onsets() -> None:
    piece, beginning = random_tune(0), replace(random_tune(0), notes=random_tune(0).notes[:20])
    assert opening_key(beginning) == opening_key(piece)
    for place, is_same in ((16, False), (17, True)):
        other = replace(piece, notes=piece.notes.copy())
        other.notes["pitch"][place] = 100
        assert (opening_key(other) == opening_key(piece)) is is_same


def test_a_short_piece_is_not_the_opening_of_a_long_one() -> None:
    assert opening_key(tune([60, 62, 64])) != opening_key(tune([60, 62, 64, 60]))


def test_pieces_of_one_opening_are_one_group_in_any_order() -> None:
    pieces = [random_tune(0), random_tune(1), moved(random_tune(0), semitones=2), random_tune(2)]
    for by in ("opening", "content"):
        groups = grouped(pieces, by)
        assert groups[0] == groups[2]
        assert len(set(groups)) == 3
        assert grouped(pieces[::-1], by) == groups[::-1]
    assert grouped(pieces, "content")[0] == min(content_key(pieces[0]), content_key(pieces[2]))


@pytest.mark.parametrize("keys", [1, 2, 6])
def test_splits_have_their_shares_in_however_many_keys_each_piece_is_there(keys: int) -> None:
    tunes = [random_tune(seed, 12) for seed in range(60)]
    pieces = [moved(each, semitones=key) for key in range(keys) for each in tunes]
    split = split_of_groups(grouped(pieces))
    assert np.array_equal(split, np.tile(split[:60], keys))
    assert 9 <= np.count_nonzero(split[:60]) <= 28  # of 18, within three standard deviations


def test_a_piece_that_is_added_moves_no_other() -> None:
    pieces = [random_tune(seed, 12) for seed in range(50)]
    more = [moved(piece, semitones=3) for piece in pieces]
    before, after = (split_of_groups(grouped(each)) for each in (pieces, [*more, *pieces]))
    assert np.array_equal(after[50:], before)


def test_splits_have_their_shares_and_keep_groups_whole() -> None:
    groups = names(20_000)
    split = split_of_groups([*groups, *groups])
    assert np.array_equal(split[: len(groups)], split[len(groups) :])
    shares = np.bincount(split) / len(split)
    assert np.allclose(shares, [0.70, 0.15, 0.15], atol=0.013)  # 4 standard deviations


def test_the_split_of_a_group_does_not_depend_on_the_others() -> None:
    groups = names(200)
    assert np.array_equal(split_of_groups(groups)[:100], split_of_groups(groups[:100]))


@pytest.mark.parametrize("count", [3, 4, 5, 8, 20])
def test_small_folders_fill_every_split_whatever_the_order(count: int) -> None:
    for start in range(0, 200, 10):
        groups = names(220)[start : start + count]
        split = split_of_groups(groups)
        assert set(split.tolist()) == {0, 1, 2}
        assert np.array_equal(split_of_groups(groups[::-1]), split[::-1])


def test_fewer_than_three_groups_cannot_be_split() -> None:
    first, second = names(2)
    with pytest.raises(DataError, match=r"need at least 3 different pieces, got 2 \(.*Add more"):
        split_of_groups([first, second, second, first])
