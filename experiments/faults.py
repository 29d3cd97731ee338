"""Kill a small sweep, again and again, in every phase; resume it; count what was lost.

    PYTHONPATH=. python experiments/faults.py --out FOLDER
    PYTHONPATH=. python experiments/faults.py --table FOLDER/faults.jsonl

One sweep is run undisturbed. Then sweeps of the same space and seed are disturbed: each fault
waits for its phase, a random time more, and kills. What was killed is resumed, until the sweep
ends and the next begins. After each fault and each sweep the folder is held against the
undisturbed one. One JSON line a fault goes to FOLDER/faults.jsonl; the table of
docs/reliability.md is made of it. A fault that is in the file already is not brought about again.
"""

import argparse
import json
import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aurl.files import append_lines, read_lines
from experiments.disturbed import (
    PATIENCE_S,
    TRIALS,
    Disturbed,
    hold_against,
    look_at,
    marked,
    undisturbed,
    waited,
)
from tests.processes import descendants, title


@dataclass(frozen=True, slots=True)
class Fault:
    """What is killed, how, and when."""

    target: str
    signal: signal.Signals
    phase: str


def _faults() -> list[Fault]:
    kill, term, ctrl_c = signal.SIGKILL, signal.SIGTERM, signal.SIGINT
    phases = ("starting", "suggesting", "training", "reporting", "checkpointing", "ending")
    driver = [Fault("driver", kill, phase) for phase in (*phases, "exporting")]
    asked = [
        Fault("driver", number, phase)
        for number in (term, ctrl_c)
        for phase in ("starting", "training", "reporting", "exporting")
    ]
    busy = ("training", "reporting", "checkpointing")
    gangs = [
        Fault(target, kill, phase) for target in ("worker", "slot", "mailbox") for phase in busy
    ]
    ray = [
        Fault(target, kill, phase)
        for target in ("raylet", "gcs")
        for phase in ("suggesting", *busy)
    ]
    between = [Fault("slot", kill, "ending")] * 3  # while Tune hands it the next trial, or before
    return driver + asked + gangs + ray + between


PAUSES = {"starting": 12.0, "training": 2.0, "exporting": 1.5}
"""At most so many seconds after the sign of a phase; the others are over in a moment."""

TITLES = {
    "worker": ("ray::RayTrainWorker",),
    "slot": ("ray::ResourceTrainable", "ray::TrialSlot"),  # in a call of Tune's, and between two
    "mailbox": ("ray::Mailbox",),
    "raylet": ("/raylet/raylet",),
    "gcs": ("/gcs/gcs_server",),
}


def arrives(sweep: Disturbed, phase: str, chance: random.Random) -> bool:
    """Wait for a phase, and a random time more; False if the sweep ended before."""
    seen = _signs(sweep, phase)
    pause = chance.uniform(0.0, PAUSES.get(phase, 0.0))
    began = time.monotonic()
    while sweep.runs() and time.monotonic() - began < PATIENCE_S:
        if phase == "starting" or _signs(sweep, phase) not in (seen, 0):
            time.sleep(pause)
            return sweep.runs()
        time.sleep(0.005)  # a checkpoint is being written for about as long
    return False


def _signs(sweep: Disturbed, phase: str) -> int:
    """A number that changes when a phase begins; 0 where it cannot be."""
    folder = sweep.folder
    if phase == "suggesting":
        journal = folder / "study.journal"
        return journal.read_bytes().count(b'"op_code":4') if journal.exists() else 0
    if phase in ("training", "reporting"):
        return sum(path.stat().st_size for path in folder.glob("trials/t*/metrics.jsonl"))
    if phase == "checkpointing":
        parts = list(folder.glob("trials/t*/checkpoint/.*.part"))
        return hash(tuple(parts)) if parts else 0
    if phase == "ending":
        return len(sweep.ended())
    return sweep.output.read_text().count("Measuring")


def strike(sweep: Disturbed, fault: Fault) -> bool:
    """Kill; False if there is nothing of that kind."""
    if fault.target == "driver":
        if fault.signal == signal.SIGINT:
            os.killpg(sweep.pid, fault.signal)
        else:
            os.kill(sweep.pid, fault.signal)
        return True
    titles = TITLES[fault.target]
    found = [pid for pid in descendants(sweep.pid) if any(each in title(pid) for each in titles)]
    if not found:
        return False
    os.kill(found[-1], fault.signal)
    return True


def disturb(sweep: Disturbed, fault: Fault, chance: random.Random) -> dict[str, Any] | None:
    """Bring one fault about; None if its phase did not come."""
    if not sweep.runs():
        sweep.start()
    if not arrives(sweep, fault.phase, chance):
        return None
    step = {name: status["step"] for name, status in sweep.statuses().items()}
    attempts = sum(status["attempts"] for status in sweep.statuses().values())
    if not strike(sweep, fault):
        return None
    row: dict[str, Any] = {
        "target": fault.target,
        "signal": fault.signal.name,
        "phase": fault.phase,
        "at": step,
    }

    def over() -> bool:
        more = sum(status["attempts"] for status in sweep.statuses().values()) > attempts
        return not sweep.runs() or (fault.target in ("worker", "slot", "mailbox") and more)

    seconds = waited(over, 420.0)
    row["seconds"] = None if seconds is None else round(seconds, 1)
    if sweep.runs():
        row["outcome"] = "hangs" if seconds is None else "the trial goes on, the sweep too"
        if seconds is None:
            os.kill(sweep.pid, signal.SIGKILL)
    if not sweep.runs() or seconds is None:
        assert sweep.driver is not None
        row["exit"] = sweep.driver.wait()
        row["said"] = sweep.last_line()
        row["alive"] = sorted(title(pid).split(" ")[0][-40:] for pid in marked(sweep.place))
        gone = waited(lambda: not marked(sweep.place), 80.0)
        row["gone_s"] = None if gone is None else round(gone, 1)
        row["wrong"] = look_at(sweep)
        row["scratch"] = len(list((sweep.place / "tmp").iterdir()))
    return row


def main() -> None:
    """Run every fault; see the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("faults"), help="a folder to work in")
    parser.add_argument("--table", type=Path, nargs="+", help="show what such files say, and end")
    parser.add_argument("--seed", type=int, default=0, help="of the order and the times")
    parser.add_argument("--part", default="0/1", help="1/3 is the second third of the faults")
    parser.add_argument("--slots", type=int, default=2, help="trials of a sweep at a time")
    parser.add_argument("--only", nargs="+", help="some, as TARGET-PHASE")
    args = parser.parse_args()
    if args.table:
        print(table([row for path in args.table for row in read_lines(path)]))
        return
    place = args.out.absolute()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    undisturbed(place, args.slots)
    chance = random.Random(args.seed)
    part, parts = map(int, args.part.split("/"))
    faults = _faults()
    chance.shuffle(faults)
    before = read_lines(place / "faults.jsonl")
    done = {_order(row) for row in before if "target" in row}
    left = [each for each in faults[part::parts] if _key(each) not in done]
    if args.only:
        left = [each for each in left if f"{each.target}-{each.phase}" in args.only]
    run(place, args.slots, left, chance)


def table(rows: list[dict[str, Any]]) -> str:
    """What became of each fault, as Markdown."""
    lines = [
        "| killed | by | while | exit code, after | last line | processes gone after | wrong |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in sorted((row for row in rows if "target" in row), key=lambda row: _order(row)):
        lives = "outcome" in row
        cells = (
            row["target"],
            row["signal"],
            row["phase"],
            row["outcome"] if lives else f"{row['exit']}, {row['seconds']:.0f} s",
            "" if lives else _said(row["said"]),
            "" if lives else f"{row['gone_s']:.0f} s" if row["gone_s"] is not None else "> 60 s",
            "; ".join(row.get("wrong", [])) or "nothing",
        )
        lines.append(f"| {' | '.join(cells)} |")
    ends = [
        row for row in rows if "wrong" in row and row["sweep"] != "calm" and "target" not in row
    ]
    wrong = [each for row in ends for each in row["wrong"]]
    lines.append(
        f"\n{len(ends)} sweeps came to their end; wrong: {'; '.join(wrong) or 'nothing'}."
    )
    return "\n".join(lines)


def _order(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["target"], row["signal"], row["phase"]


def _said(line: str) -> str:
    """A last line without the paths of this machine; none if it is only the progress of before."""
    if not line.startswith("aurl: "):
        return "none"
    return line.partition(" Go on with: ")[0] + (" Go on with: …" if "Go on with" in line else "")


def _key(fault: Fault) -> tuple[str, str, str]:
    return fault.target, fault.signal.name, fault.phase


def run(place: Path, slots: int, faults: list[Fault], chance: random.Random) -> None:
    """Bring the faults about, in as many sweeps as it takes."""
    number = sum("target" not in row for row in read_lines(place / "faults.jsonl"))
    while faults:
        sweep = Disturbed(place, f"s{number}", slots=slots)
        while not sweep.finished():
            if faults:
                fault = choice(sweep, faults)
                row = disturb(sweep, fault, chance)
                if row is not None:
                    faults.remove(fault)
                    note(place, {"sweep": sweep.name, **row})
            elif not sweep.runs():
                sweep.start()
            else:
                sweep.wait()
        note(place, {"sweep": sweep.name, "wrong": hold_against(sweep, place / "sweeps/calm")})
        number += 1


def choice(sweep: Disturbed, faults: list[Fault]) -> Fault:
    """The next fault whose phase can come: a sweep that has its trials is only exported."""
    exports = len(sweep.ended()) == TRIALS
    tried = max((status["attempts"] for status in sweep.statuses().values()), default=0)

    def can_come(fault: Fault) -> bool:
        costs_an_attempt = fault.target in ("worker", "slot")
        return (fault.phase == "exporting") == exports and not (costs_an_attempt and tried > 1)

    return next((each for each in faults if can_come(each)), faults[0])


def note(place: Path, row: dict[str, Any]) -> None:
    """Keep a row, and show it."""
    append_lines(place / "faults.jsonl", [row])
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
