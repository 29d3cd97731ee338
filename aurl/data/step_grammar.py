"""The grammar of `metrical` for a few sequences that someone waits for: plain numbers, no tensors.

The same language as :class:`aurl.data.grammar.Grammar`, from the same tables, which a test holds
it to. For two sequences that one spends most of its time on beginning some forty tiny operations
of torch a token; here a token costs a few slices of one array.
"""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from aurl.data.grammar import FIRST_BAR, FIRST_METRE, FOLLOWS, NOTHING, Rules, rules_of
from aurl.data.metrical_layout import KEEP, NONE, Kind, MetricalLayout

END, BAR = int(Kind.END), int(Kind.BAR)
METRE, TEMPO = int(Kind.METRE), int(Kind.TEMPO)
POSITION, PITCH = int(Kind.POSITION), int(Kind.PITCH)
PROGRAM, VELOCITY = int(Kind.PROGRAM), int(Kind.VELOCITY)


class StepGrammar:
    """The tokens that may come next, for a few sequences that grow together on the CPU.

    Args:
        vocabulary: Whose ids they are.
        batch: How many sequences.
        n_bars: How many bars each of them has; ``END`` comes in the last.

    Raises:
        ValueError: If ``n_bars`` is not positive.
    """

    def __init__(self, vocabulary: MetricalLayout, batch: int, n_bars: int) -> None:
        if n_bars < 1:
            raise ValueError(f"n_bars must be >= 1, got {n_bars}.")
        self._said = _said(vocabulary)
        self._size = vocabulary.size
        self._rows = [_Row(self._said, n_bars) for _ in range(batch)]

    @property
    def ended(self) -> Bool[Tensor, " batch"]:
        """Which sequences have had their ``END``."""
        return torch.tensor([row.phase == END for row in self._rows], dtype=torch.bool)

    def allowed(self, budget: int | None = None) -> Bool[Tensor, "batch vocab"]:
        """Which tokens may come next; at least one in each row.

        Args:
            budget: How many tokens may still come, this one included; as in
                :meth:`aurl.data.grammar.Grammar.allowed`.

        Raises:
            ValueError: If ``budget`` is too small for some sequence to end.
        """
        allowed = np.zeros((len(self._rows), self._size), np.bool_)
        for row, ids in zip(self._rows, allowed, strict=True):
            if not row.allow(ids, budget):
                raise ValueError(f"budget must be enough to end the sequences, got {budget}.")
        return torch.from_numpy(allowed)

    def advance(self, tokens: Int[Tensor, " batch"]) -> None:
        """Read one token for each sequence; a ``PAD`` is passed over."""
        for row, token in zip(self._rows, tokens.tolist(), strict=True):
            row.read(token)

    def place(self) -> tuple[Int[Tensor, " batch"], Float[Tensor, " batch"]]:
        """Bar and phase after what was read: the last of :meth:`MetricalLayout.positions`."""
        places = [row.place() for row in self._rows]
        bar, position, ticks = np.array(places, np.int64).reshape(-1, 3).T
        phase = position.astype(np.float32) / ticks.astype(np.float32)
        return torch.from_numpy(bar.copy()), torch.from_numpy(phase)


def accepted_of_one(
    vocabulary: MetricalLayout, tokens: Int[np.ndarray, " token"], n_bars: int
) -> int:
    """How many tokens at the beginning of one sequence the grammar accepts.

    As :func:`aurl.data.grammar.accepted`, without its some hundred operations of torch.
    """
    row = _Row(_said(vocabulary), n_bars)
    ids = tokens.tolist()
    for place, token in enumerate(ids):
        if not row.allows(token):
            return place
        row.read(token)
    return len(ids)


class _Said:
    """What each id of a vocabulary says, as lists."""

    def __init__(self, vocabulary: MetricalLayout, rules: Rules) -> None:
        tables = vocabulary.tables(torch.device("cpu"))
        self.initial: list[int] = tables.initial.tolist()
        self.bar_ticks: list[int] = tables.bar_ticks.tolist()
        self.phase: list[int] = rules.phase.tolist()
        self.needed: list[int] = rules.needed.tolist()
        self.first: list[int] = rules.first.tolist()
        self.with_tempo = vocabulary.tempo
        self.becomes = [
            [(kind, value) for kind, value in enumerate(column) if value != KEEP]
            for column in rules.becomes.tolist()
        ]
        """The kinds whose value in force each token changes, and to what."""

        ids = {kind: vocabulary.ids(kind) for kind in Kind}
        self.kind: list[int] = tables.kind.tolist()
        self.value: list[int] = tables.value.tolist()
        self.sizes = [len(ids[kind]) for kind in Kind]
        self.follows = {
            int(phase): [(int(kind), ids[kind].start, len(ids[kind])) for kind in kinds]
            for phase, kinds in FOLLOWS.items()
        }
        """By phase the kinds that may follow, each with its first id and how many it has."""

        self.kinds = {phase: {kind for kind, _, _ in rows} for phase, rows in self.follows.items()}


@lru_cache(maxsize=64)
def _said(vocabulary: MetricalLayout) -> _Said:
    return _Said(vocabulary, rules_of(vocabulary, torch.device("cpu")))


class _Row:
    """One sequence: the values in force after its last token."""

    def __init__(self, said: _Said, n_bars: int) -> None:
        self.phase = NOTHING
        self._said = said
        self._force = list(said.initial)
        self._bars_left = n_bars
        self._n_bars = n_bars

    def allow(self, ids: Bool[np.ndarray, " vocab"], budget: int | None) -> bool:
        """Mark the ids that may come next; whether there are any."""
        before_metre = self._force[METRE] == NONE
        found = False
        for kind, start, size in self._said.follows[self.phase]:
            if budget is not None:
                needed = self._said.needed[kind] + self._said.first[kind] * before_metre
                if self._bars_left + needed > budget:
                    continue
            low, high = self._bounds(kind, size)
            if high > low:
                found = True
                ids[start + low : start + high] = True
                if low <= self._force[kind] < high:  # what is in force is not said again
                    ids[start + self._force[kind]] = False
        return found

    def allows(self, token: int) -> bool:
        """Whether a token may come next."""
        kind, value = self._said.kind[token], self._said.value[token]
        if kind not in self._said.kinds[self.phase]:
            return False
        low, high = self._bounds(kind, self._said.sizes[kind])
        return low <= value < high and value != self._force[kind]

    def _bounds(self, kind: int, size: int) -> tuple[int, int]:
        """The least value, and one more than the greatest: those of the other grammar."""
        force = self._force
        if kind == POSITION:
            return force[POSITION] + 1, min(size, self._said.bar_ticks[force[METRE]])
        if kind == PITCH:
            return force[PITCH] + 1, size
        if kind == PROGRAM:
            return (force[PROGRAM] + 1 if force[PITCH] != NONE else 0), size
        closed = (
            (kind == VELOCITY and force[PITCH] >= 127)  # a PITCH must be left to be loud
            or (kind == BAR and self._bars_left == 0)
            or (kind == END and self._bars_left > 0)
        )
        return 0, 0 if closed else size

    def read(self, token: int) -> None:
        """Read a token; a ``PAD`` is passed over."""
        if token == Kind.PAD:
            return
        for kind, value in self._said.becomes[token]:
            self._force[kind] = value
        self._bars_left -= token == BAR
        phase = self._said.phase[token]
        if token == BAR and self._bars_left == self._n_bars - 1:
            phase = FIRST_BAR
        elif phase == METRE and self._said.with_tempo and self._force[TEMPO] == NONE:
            phase = FIRST_METRE
        self.phase = phase

    def place(self) -> tuple[int, int, int]:
        """The bar, the tick in it, and the ticks of such a bar."""
        ticks = self._said.bar_ticks[self._force[METRE]]
        bar = max(self._n_bars - self._bars_left - 1, 0)
        return bar, min(max(self._force[POSITION], 0), ticks - 1), ticks
