"""Where a process's output goes while it has a log, and afterwards; by a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

CODE = """
import logging
import sys
from pathlib import Path

from aurl.errors import SweepError
from aurl.search.journal import journal, last_words

log = Path(sys.argv[1])
print("before")
with journal(log):
    print("within")
    print("wrong", file=sys.stderr)
    logging.getLogger().warning("logged")
    last_words("why")
    try:
        with journal(log):
            print("twice")
    except SweepError as error:
        print(error)
print("after")
logging.getLogger().warning("unlogged")
last_words("end")
"""


def test_a_log_takes_all_that_is_printed_while_it_is_held_and_by_one_alone(tmp_path: Path) -> None:
    log = tmp_path / "sweep.log"
    log.write_text("of an earlier attempt\n")
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(log)],
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "before\nafter\n"
    assert done.stderr == "why\nunlogged\nend\n"
    first, *others = log.read_text().splitlines()
    assert first == "of an earlier attempt"
    held = f"{tmp_path} must be left to one process, and another one is running it. Wait for it, "
    assert sorted(others) == sorted(
        ["within", "wrong", "logged", "why", held + "or end it first."]
    )
