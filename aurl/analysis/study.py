"""What is known of a model's codes from the music that it was trained on."""

from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from aurl.analysis.directions import Direction, directions
from aurl.analysis.names import Name, Names, named
from aurl.analysis.readings import Readings, musical_readings
from aurl.analysis.subject import Subject
from aurl.analysis.traversal import Aggregate, Ground
from aurl.data.attributes import discretized
from aurl.data.corpus import Split
from aurl.metrics.dimensions import LIVE_THRESHOLD_NATS, carried_nats, over_slots, own_rates
from aurl.metrics.latent_information import latent_information
from aurl.seeding import numpy_generator

STUDIED = 2000
"""Training windows that are looked at, at most."""

RATED = 500
"""Of these, the windows that information is estimated from: the time grows with their square."""


class Study:
    """Statistics of codes, each computed when it is first asked for.

    Windows are drawn by the corpus alone: two models are looked at on the same music.

    Args:
        subject: The model and its music.
        studied: Training windows that are looked at, at most.
    """

    def __init__(self, subject: Subject, *, studied: int = STUDIED) -> None:
        self.subject = subject
        self.windows = self.drawn("train", studied)

    @cached_property
    def _posterior(self) -> tuple[np.ndarray, np.ndarray]:
        return self.subject.posterior(self.windows)

    @property
    def mean(self) -> Float[np.ndarray, "window coordinate"]:
        """Posterior means of the studied windows."""
        return self._posterior[0]

    @property
    def log_var(self) -> Float[np.ndarray, "window coordinate"]:
        """Posterior log-variances of the studied windows."""
        return self._posterior[1]

    def drawn(self, split: Split, count: int) -> Int[np.ndarray, " window"]:
        """The first windows of a split in an order drawn once and for all."""
        windows = self.subject.corpus.indices(split)
        return numpy_generator(0, "study", split).permutation(windows)[:count]

    def pieces_of(self, windows: Int[np.ndarray, " window"]) -> Int[np.ndarray, " window"]:
        """The piece of each window."""
        return np.asarray(self.subject.corpus.piece)[windows].astype(np.int64)

    @cached_property
    def aggregate(self) -> Aggregate:
        """The aggregate posterior."""
        return Aggregate.of(self.mean, self.log_var)

    @cached_property
    def _z(self) -> Float[np.ndarray, "window coordinate"]:
        noise = numpy_generator(0, "rates").normal(size=self.mean.shape)
        return self.mean + np.exp(0.5 * self.log_var) * noise

    @cached_property
    def _information(self) -> Float[np.ndarray, " coordinate"]:
        return latent_information(self._z[:RATED], self.mean[:RATED], self.log_var[:RATED])

    @cached_property
    def information(self) -> Float[np.ndarray, " dimension"]:
        """I(x; z): what each dimension tells about the music, in nats a slot."""
        return over_slots(self._information, self.subject.layout.dimension.numpy())

    @cached_property
    def live(self) -> Bool[np.ndarray, " dimension"]:
        """Dimensions that carry 0.05 nats at least, as :mod:`aurl.metrics.kl_health` counts."""
        layout, closed = self.subject.layout, self.subject.model.prior.closed_form.numpy()
        dimension = layout.dimension.numpy()
        kl = self.subject.kl(self.windows, self._posterior, self._z)
        paid = own_rates(kl, self._information, closed, layout.slot.numpy())
        told = over_slots(carried_nats(self.mean, self.log_var), dimension)
        return np.minimum(told, over_slots(paid, dimension)) >= LIVE_THRESHOLD_NATS

    @cached_property
    def names(self) -> Names:
        """What each coordinate is named after."""
        corpus = self.subject.corpus
        rows = np.asarray(corpus.attributes)[self.windows].astype(np.float64)
        if corpus.is_constructed:
            factors, kept = rows.astype(np.int64), list(corpus.attribute_names)
        else:
            factors, kept = discretized(rows, rows, corpus.attribute_names)
        return named(self.mean, factors, kept, self.pieces_of(self.windows))

    @cached_property
    def tells(self) -> list[Name | None]:
        """What each dimension is named after, in the slot that tells most."""
        coordinates = self.subject.layout.dimension.numpy()
        found: list[Name | None] = []
        for index in range(self.subject.layout.n_dimensions):
            own = [self.names.names[place] for place in np.flatnonzero(coordinates == index)]
            best = max((each for each in own if each), key=lambda name: name.share, default=None)
            found.append(best)
        return found

    @cached_property
    def values(self) -> Float[np.ndarray, "window attribute"]:
        """What is heard in the studied windows: :func:`musical_readings`."""
        return self._read(musical_readings())

    @cached_property
    def directions(self) -> list[Direction]:
        """Where each musical attribute that has an order rises."""
        readings, values = musical_readings(), self.values
        names = [
            name
            for name, unordered in zip(readings.names, readings.categorical, strict=True)
            if not unordered
        ]
        ordered = values[:, ~readings.categorical]
        return directions(self.mean, ordered, names, self.pieces_of(self.windows))

    def ground(self, readings: Readings, windows: Int[np.ndarray, " window"]) -> Ground:
        """What the effects of moving the codes of some windows are measured in."""
        is_musical = readings.names == musical_readings().names
        values = self.values if is_musical else self._read(readings)
        return Ground(readings=readings, scale=spread(values), pieces=self.pieces_of(windows))

    def _read(self, readings: Readings) -> Float[np.ndarray, "window attribute"]:
        """What is heard in the studied windows."""
        return readings.read(self.subject.corpus.music(self.windows))


def spread(values: Float[np.ndarray, "window attribute"]) -> Float[np.ndarray, " attribute"]:
    """Standard deviation of each column over the windows that show it; 0 where none does."""
    known = np.isfinite(values)
    n = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, values, 0.0).sum(axis=0) / n
    return np.sqrt(np.square(np.where(known, values - mean, 0.0)).sum(axis=0) / n)
