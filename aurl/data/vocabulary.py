"""What every vocabulary can do; nothing outside ``aurl/data`` knows which one it has.

=============  ===========================================  ==============================
``metrical``   bars, positions, pitches, durations          :mod:`aurl.data.metrical`
``grid``       one token a step, one voice                  :mod:`aurl.data.grid`
``events``     notes on and off, and seconds between them   :mod:`aurl.data.events`
=============  ===========================================  ==============================

A sequence begins with ``start``, which is given, and is padded with ``pad`` after its last token.
"""

from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Integer, UInt16
from torch import Tensor

from aurl.data.piece import Piece


@runtime_checkable
class GrammarState(Protocol):
    """The tokens that may come next, for a batch of sequences that grow together."""

    @property
    def ended(self) -> Bool[Tensor, " batch"]:
        """Which sequences are whole: only ``pad`` may follow."""
        ...

    def allowed(self, budget: int | None = None) -> Bool[Tensor, "batch vocab"]:
        """Which tokens may come next; at least one in each row.

        Args:
            budget: How many tokens may still come, this one included. Only tokens are allowed
                after which the sequence can be ended in time.

        Raises:
            ValueError: If ``budget`` is too small for some sequence to end.
        """
        ...

    def advance(self, tokens: Int[Tensor, " batch"]) -> None:
        """Read one token for each sequence; a ``pad`` is passed over."""
        ...

    def place(self) -> tuple[Int[Tensor, " batch"], Float[Tensor, " batch"]]:
        """Where in the music one is after what was read: the last of ``positions``.

        Of a sequence that has ended it is where it ended.
        """
        ...


@runtime_checkable
class Vocabulary(Protocol):
    """Which token ids there are, what they say, where in the music they are."""

    pad: ClassVar[int]
    """The id that fills a batch up; it says nothing."""

    start: ClassVar[int]
    """The id that every sequence begins with."""

    @property
    def size(self) -> int:
        """How many ids there are."""
        ...

    @property
    def tempo(self) -> bool:
        """Whether :meth:`with_tempo_shift` can change anything."""
        ...

    @property
    def velocity_bins(self) -> int:
        """Steps of loudness; 0 if :meth:`with_velocity_shift` cannot change anything."""
        ...

    def said(self, piece: Piece) -> tuple[Piece, dict[str, int]]:
        """The piece as the tokens can say it, and how many notes that changes, by how."""
        ...

    def encode(self, piece: Piece, n_bars: int | None = None) -> UInt16[np.ndarray, " token"]:
        """A piece as tokens, from ``start`` on.

        Raises:
            DataError: If it cannot be said; the message begins with ``metre:``, ``notes:`` ...
        """
        ...

    def decode(self, tokens: Integer[np.ndarray, " token"]) -> Piece:
        """The piece that one sequence says.

        Raises:
            DataError: If the grammar refuses it.
        """
        ...

    def grammar(self, batch: int, n_bars: int, device: torch.device | str = "cpu") -> GrammarState:
        """A grammar before the first token, for sequences of ``n_bars`` bars."""
        ...

    def is_valid(self, tokens: Int[Tensor, "batch token"], n_bars: int) -> Bool[Tensor, " batch"]:
        """Whether each sequence is a whole one, and then padding."""
        ...

    def positions(
        self, tokens: Int[Tensor, "batch token"]
    ) -> tuple[Int[Tensor, "batch token"], Float[Tensor, "batch token"]]:
        """Where in the music one is after reading each token: the bar, and the phase in it.

        The bar counts from 0, the phase is in [0, 1). Causal: changing a token changes nothing
        before it.
        """
        ...

    def note_count(self, tokens: Int[Tensor, "batch token"]) -> Int[Tensor, " batch"]:
        """How many notes each sequence has."""
        ...

    def transposed(
        self, tokens: Int[Tensor, "batch token"], semitones: Int[Tensor, " batch"]
    ) -> Int[Tensor, "batch token"]:
        """The sequences moved by so many semitones; one that would leave the range stays."""
        ...

    def with_tempo_shift(
        self, tokens: Int[Tensor, "batch token"], bins: Int[Tensor, " batch"]
    ) -> Int[Tensor, "batch token"]:
        """The sequences so many tempo bins faster; one that would leave the range stays.

        Raises:
            ValueError: If :attr:`tempo` is false.
        """
        ...

    def with_velocity_shift(
        self, tokens: Int[Tensor, "batch token"], bins: Int[Tensor, " batch"]
    ) -> Int[Tensor, "batch token"]:
        """The sequences so many velocity bins louder; one that would leave the range stays.

        Raises:
            ValueError: If :attr:`velocity_bins` is 0.
        """
        ...

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``vocabulary.json``: ``kind``, ``version`` and the settings."""
        ...
