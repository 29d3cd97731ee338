"""The studio without its page: what there is to move, pieces to begin with, and music."""

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aurl.analysis.study import Study
from aurl.audio import PARTIALS, TIMBRES, rendered, wav
from aurl.data.midi import MAX_BYTES, write_midi
from aurl.errors import ConfigError
from aurl.reporting.loading import Model
from aurl.studio.controls import WORDS, studied, unstudied
from aurl.studio.instrument import Instrument, drawable
from aurl.studio.move import HOTTEST, LARGEST, MOST_SEED, MOST_WINDOWS, Move
from aurl.studio.sources import Source, drawn, dropped, held_out


@dataclass(frozen=True, kw_only=True, eq=False)
class Studio:
    """One model, its controls, and its music if that is here."""

    name: str
    instrument: Instrument
    study: Study | None
    lacking: str
    """Why its music is not here."""

    @staticmethod
    def of(name: str, model: Model, study: Study | None, lacking: str = "") -> "Studio":
        """A studio; with what is known of the codes, if the music that tells it is here."""
        controls = unstudied(model.trained.model) if study is None else studied(study)
        return Studio(
            name=name,
            instrument=Instrument(model=model, controls=controls),
            study=study,
            lacking=lacking,
        )

    def described(self) -> dict[str, Any]:
        """What the page is built from."""
        instrument, model = self.instrument, self.instrument.model
        return {
            "model": self.name,
            "n_bars": model.n_bars,
            "most_windows": MOST_WINDOWS,
            "largest": LARGEST,
            "hottest": HOTTEST,
            "most_seed": MOST_SEED,
            "most_bytes": MAX_BYTES,
            "lacking": self.lacking,
            "held_out": self.study is not None,
            "levels": [
                {"name": level.name, "span": level.span, "slots": level.n_slots}
                for level in instrument.layout.levels
            ],
            "sliders": [asdict(slider) for slider in instrument.controls.sliders],
            "faders": [
                {
                    "attribute": fader.attribute,
                    "words": WORDS[fader.attribute],
                    "r2": fader.r2,
                    "gain": fader.gain,
                }
                for fader in instrument.controls.faders
            ],
            "timbres": [asdict(timbre) for timbre in TIMBRES],
            "partials": PARTIALS,
        }

    def drawn(self, move: Move) -> dict[str, Any]:
        """The music of a move, to be drawn and played.

        Raises:
            ConfigError: If the move is for another model.
        """
        return drawable(self.instrument.music(move))

    def file(self, move: Move, kind: str) -> bytes:
        """The music of a move as a file: its sound if ``kind`` is ``wav``, else MIDI.

        Raises:
            ConfigError: If the move is for another model.
        """
        music = self.instrument.music(move)
        if kind == "wav":
            return wav(rendered(music))
        with tempfile.TemporaryDirectory(prefix="aurl-studio-") as folder:
            path = Path(folder) / "music.mid"
            write_midi(music, path)
            return path.read_bytes()

    def piece(self, kind: str, options: Mapping[str, str], data: bytes) -> Source:
        """A piece to begin with.

        Args:
            kind: ``prior``, ``held-out`` or ``file``.
            options: ``seed`` of the first two, ``name`` of a file.
            data: The bytes of a file.

        Raises:
            ConfigError: If there is no such kind, or an option is out of range.
            DataError: If the file cannot be used.
        """
        model = self.instrument.model
        match kind:
            case "file":
                return dropped(model, data, options.get("name", ""))
            case "prior":
                return drawn(model, _seed(options))
            case "held-out" if self.study is not None:
                return held_out(self.study.subject, _seed(options))
            case _:
                kinds = ["file", "prior", *(["held-out"] if self.study is not None else [])]
                raise ConfigError(f"a piece must be one of {', '.join(kinds)}, got {kind}.")


def _seed(options: Mapping[str, str]) -> int:
    text = options.get("seed", "")
    if not (text.isascii() and text.isdigit() and int(text[:12]) <= MOST_SEED):
        raise ConfigError(f"seed must be in 0..{MOST_SEED}, got {text[:20]!r}.")
    return int(text)
