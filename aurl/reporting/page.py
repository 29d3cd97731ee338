"""The page of a report, from the question at its top to what it stands on at its end."""

from collections.abc import Mapping, Sequence

from aurl.reporting.boundaries import Range
from aurl.reporting.conclusions import HELD, answer, caveats, costs, device, endings, held
from aurl.reporting.figures import (
    MOST_SLICED,
    TARGETS,
    Figure,
    front_figures,
    importance_figures,
    range_figure,
    seed_figure,
    short,
    slice_figures,
)
from aurl.reporting.findings import Findings
from aurl.reporting.html import Html, element, joined, table
from aurl.reporting.looks import Look
from aurl.reporting.page_trials import page_data, ranking, values
from aurl.reporting.performances import KINDS
from aurl.reporting.sheets import Players, chart, document, picture
from aurl.reporting.tables import always_failed, brief
from aurl.search.importance import LEAST_TRIALS
from aurl.search.ranking import SCORE, counts

SHOWN_SLICES = 6
"""Parameters whose slices are shown at once, those with the largest importances."""

NAMED = 8  # trials of one ending

FIRST = ("latent_kl_by_dimension", "latent_traversal")
"""Pictures of a trial that are shown at once."""


class Page:
    """A report as HTML, and the files that lie beside it.

    Args:
        found: What the sweep found.
        looks: What there is to see and hear of its best trials.
    """

    def __init__(self, found: Findings, looks: Sequence[Look]) -> None:
        self._found = found
        self._looks = looks
        self._players = Players()
        self.figures: list[Figure] = []
        """Every drawing that is in the page, once :meth:`html` has been called."""

    def html(self) -> str:
        """The whole page."""
        sections = {
            "front": ("Pareto front", self._front()),
            "ranking": ("Ranking", self._ranking()),
            "values": ("Value by value", self._values()),
            "mattered": ("What mattered", self._mattered()),
            "ranges": ("Ends of ranges", self._ranges()),
            "endings": ("Stopped and failed", self._endings()),
            "latent": ("Latent space", self._latent()),
            "listen": ("Listen", self._listen()),
            "cost": ("Cost", self._cost()),
            "caveats": ("Caveats", self._caveats()),
        }
        links = (element("a", title, href=f"#{name}") for name, (title, _) in sections.items())
        parts = (
            element("section", element("h2", title), content, id=name)
            for name, (title, content) in sections.items()
        )
        return document(
            f"{self._found.name}: report of a sweep",
            self._header(),
            element("nav", *links, aria_label="Sections"),
            element("main", *parts),
            data=page_data(self._found),
        )

    def _header(self) -> Html:
        found = self._found
        first, *others = answer(found)
        pills = [
            element("span", f"{n} {status}", class_=f"pill {status}")
            for status, n in counts(found.trials).items()
            if n
        ]
        notes = [element("p", note, class_="note") for note in found.notes]
        return element(
            "header",
            element("p", f"aurl report · {found.name} · {found.at}", class_="pale"),
            element("h1", found.question),
            element("p", first, class_="answer"),
            *(element("p", line) for line in others),
            element("p", *pills),
            *notes,
        )

    def _front(self) -> Html:
        figures = front_figures(self._found)
        if not figures:
            return element("p", "No completed trial has all objectives, so there is no front.")
        words = (
            "Every pair of the three objectives, all better when greater. Orange: no other "
            "feasible trial is as good in all three and better in one; ringed: rank 1. Rest on a "
            "point or click it to see its trial, here and in every other figure."
        )
        return joined([element("p", words), self._grid(figures)])

    def _ranking(self) -> Html:
        places = self._found.ranked
        return ranking(places) if places else element("p", "No trial has completed.")

    def _values(self) -> Html:
        found = self._found.comparisons
        if not found:
            return element("p", "The question is about no parameter of few values.")
        words = (
            "Of each value of what the question is about, the trial of the best score, beside how "
            "many there were; the median is of the scores of all that completed."
        )
        if any(each.by_seeds for each in found):
            words += " Mean over other seeds ± its standard error: these runs chose nothing."
        rows = ((element("h3", each.parameter.name), values(each)) for each in found)
        figure = seed_figure(self._found)
        drawn = [self._grid([figure], tips=True)] if figure else []  # scores of other runs
        return joined([element("p", words), *drawn, *(part for both in rows for part in both)])

    def _mattered(self) -> Html:
        figures = importance_figures(self._found)
        parts: list[str] = []
        if figures:
            trials = self._found.importances[0].trials
            drawn = self._found.importances[-1].trials
            some = f", from {drawn} of them drawn evenly" if drawn < trials else ""
            words = (
                f"Optuna's evaluators, from {trials} completed trials. PED-ANOVA: what sets the "
                "trials nearest to the front apart; conditional parameters are in it. fANOVA: "
                "a parameter's share of what single ones explain of a score's variance, "
                f"among those that every trial has{some}. Shares add up to 1 even where nothing "
                "matters."
            )
            few = self._grid(figures[:2])
            rest = element(
                "details", element("summary", "For each objective"), self._grid(figures[2:])
            )
            parts += [element("p", words), few, rest]
        else:
            needs = f"{LEAST_TRIALS} completed trials that differ in two parameters, and a journal"
            parts.append(element("p", f"None is known: importances need {needs}."))
        slices = {target: slice_figures(self._found, target) for target in TARGETS}
        if any(slices.values()):
            words = f"{MOST_SLICED} trials: the Pareto front, and of the others evenly by rank."
            some = [element("p", words, class_="pale")] * (len(self._found.ranked) > MOST_SLICED)
            parts += [element("h3", "Slices"), *some, self._slices(slices)]
        return joined(parts)

    def _slices(self, slices: Mapping[str, Sequence[Figure]]) -> Html:
        choices = [
            element(
                "label",
                element(
                    "input", type="radio", name="target", value=target, checked=target == SCORE
                ),
                f" {short(target)}",
            )
            for target in slices
        ]
        groups = [
            element(
                "div", *self._by_importance(figures), data_target=target, hidden=target != SCORE
            )
            for target, figures in slices.items()
        ]
        legend = element("legend", "Each parameter against")
        return joined([element("fieldset", legend, *choices), *groups])

    def _by_importance(self, figures: Sequence[Figure]) -> list[Html]:
        """Slices, those of parameters that mattered first and the rest out of the way."""
        known = self._found.importances
        shares: Mapping[str, float] = known[0].shares if known else {}
        order = sorted(figures, key=lambda figure: -shares.get(figure.title, 0.0))
        shown = [self._grid(order[:SHOWN_SLICES])]
        if rest := order[SHOWN_SLICES:]:
            several = "parameters" if len(rest) > 1 else "parameter"
            summary = element("summary", f"{len(rest)} more {several}")
            shown.append(element("details", summary, self._grid(rest)))
        return shown

    def _ranges(self) -> Html:
        figure = range_figure(self._found)
        if figure is None:
            return element("p", "There is no completed trial, or no range that has two ends.")
        trials = self._found.best
        at_ends = [
            element("li", element("code", each.parameter.name), _at_end(each))
            for each in self._found.ranges
            if each.end
        ]
        those = f"The best {len(trials)} trials" if len(trials) > 1 else "The best trial"
        words = (
            f"{those} in what was searched; the ringed one is rank 1. Ranges that are searched by "
            "ratio are drawn so, and the options of a choice evenly: a dot's trial has its value."
        )
        told = element("ul", *at_ends) if at_ends else element("p", "None is at an end.")
        return joined([element("p", words), told, self._grid([figure])])

    def _endings(self) -> Html:
        rows = [
            (each.status, str(len(each.trials)), each.reason or "-", _few(each.trials))
            for each in endings(self._found)
        ]
        if not rows:
            return element("p", "None: every trial that has ended completed, and is feasible.")
        words = "Reasons that differ in numbers only are counted as one, with the first's numbers."
        told = (element("p", each) for each in (words, *always_failed(self._found.trials)))
        return joined([*told, table(("how", "trials", "reason", "which"), rows)])

    def _latent(self) -> Html:
        parts: list[str] = []
        for look in self._looks:
            trial = look.trial
            pictures = {
                each.name: picture(
                    each.png,
                    each.caption,
                    f"figures/{trial}_{each.name}.png",
                    f"{trial}: {each.caption}",
                )
                for each in look.pictures
            }
            first = [html for name, html in pictures.items() if name in FIRST]
            others = [html for name, html in pictures.items() if name not in FIRST]
            if pictures:
                parts.append(element("h3", _title(self._found, look.trial)))
                parts.append(element("div", *first, class_="pictures"))
            if others:
                summary = element("summary", "Codes against factors, reconstructions")
                box = element("div", *others, class_="pictures")
                parts.append(element("details", summary, box))
        return joined(
            parts or [element("p", "There is nothing to see: no trial has been evaluated.")]
        )

    def _listen(self) -> Html:
        players = self._players_by_trial()
        parts: list[str] = []
        for look in self._looks:
            if not look.performances and not look.notes:
                continue
            parts.append(element("h3", _title(self._found, look.trial)))
            parts += [element("p", note, class_="note") for note in look.notes]
            for kind in KINDS:
                shown = [players[look.trial, e.name] for e in look.performances if e.kind == kind]
                parts += [element("div", *shown, class_=f"players {kind}")] * bool(shown)
        if not parts:
            return element("p", "No trial has completed, so there is nothing to hear.")
        words = "Windows are of the validation split; the sound is aurl's own synthesiser."
        return joined([element("p", words, class_="pale"), *parts])

    def _players_by_trial(self) -> dict[tuple[str, str], Html]:
        """A player for everything that is heard, by its trial and name.

        The first of each kind of each trial come first, so that a page that cannot hold all of
        the sound has some of everything.
        """
        waiting = [
            (place, rank, look.trial, heard)
            for rank, look in enumerate(self._looks)
            for kind in KINDS
            for place, heard in enumerate(e for e in look.performances if e.kind == kind)
        ]
        return {
            (trial, heard.name): self._players.player(
                heard.title,
                heard.roll,
                heard.sound,
                file=f"music/{trial}_{heard.name}",
                endings=("mid", "wav"),
            )
            for _, _, trial, heard in sorted(waiting, key=lambda each: each[:2])
        }

    def _cost(self) -> Html:
        rows = costs(self._found)
        unit = f"{device(self._found)} hours"
        if not rows:
            return element("p", "Nothing yet.")
        cells = [(each.what, str(each.runs), f"{each.device_hours:.3f}") for each in rows]
        total = ("all", str(sum(each.runs for each in rows)))
        cells.append((*total, f"{sum(each.device_hours for each in rows):.3f}"))
        words = (
            "The time that trials ran, for each of their workers; starting Ray and waiting for a "
            "place are not in it."
        )
        return joined([element("p", words), table(("what", "runs", unit), cells)])

    def _caveats(self) -> Html:
        lines = element("ul", *(element("li", line) for line in caveats(self._found)))
        sections = [
            element(
                "details",
                element("summary", f"{title} ({len(values)})"),
                table(("setting", "value"), values.items(), class_="settings"),
                open=title in ("held on the command line", "fixed"),
            )
            for title, values in held(self._found).items()
        ]
        return joined([lines, element("h3", "What was fixed"), element("p", HELD), *sections])

    def _grid(self, figures: Sequence[Figure], *, tips: bool = False) -> Html:
        self.figures += figures
        shown = [chart(e.drawing, f"figures/{e.name}.svg", tips=tips) for e in figures]
        return element("div", *shown, class_="grid")


def _title(found: Findings, trial: str) -> str:
    rank = next((each.rank for each in found.ranked if each.trial.trial == trial), None)
    return f"Rank {rank}: {trial}" if rank is not None else trial


def _at_end(found: Range) -> str:
    best = found.placed[0]
    others = f", as {found.sharing - 1} of the others" if found.sharing > 1 else ""
    return (
        f": {best.trial}, the best that has it, has {brief(best.value)}, at the {found.end} end "
        f"of {brief(found.low)} to {brief(found.high)}{others}. Widen the range there, if it can "
        "be."
    )


def _few(names: Sequence[str]) -> str:
    rest = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + rest
