"""What must not happen: code from files, paths from files, secrets in files, doors left open."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aurl.config import to_plain
from aurl.errors import SweepError
from aurl.files import write_json, write_yaml
from aurl.reporting.export import trial_at_rank
from aurl.search import sweep
from aurl.search.plan import Sweep, SweepOptions, plan
from aurl.search.recorder import Recorder, statuses
from tests.tiny import small_config

PACKAGE = Path(__file__).parents[1] / "aurl"
FILES = sorted(PACKAGE.rglob("*.py"))
NEVER_IMPORTED = {"cloudpickle", "dill", "joblib", "marshal", "shelve", "_pickle"}
NEVER_CALLED = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler"),
    *("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load"),
    *("torch.jit.load", "torch.hub.load", "subprocess.getoutput"),
}
NEVER_NAMED = {f"yaml.{kind}Loader" for kind in ("", "Full", "Unsafe", "C", "CFull", "CUnsafe")}
PICKLES = {
    "data/isolation.py",  # of our own function, for a process of our own
    "training/look.py",  # from a worker to the driver of the same sweep, as Ray itself does
}
"""Modules whose pickles never were a file."""

SPACE = """
question: Does it keep a secret?
scientific:
  optimizer.lr: {log_uniform: [1e-3, 1e-2]}
budget: {trials: 2, steps_per_trial: 8}
"""


def faults(code: str, name: str = "") -> Iterator[str]:
    """Ways in which code could come to run what a file says."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None) or ""
            names = {alias.name.split(".")[0] for alias in node.names} | {module.split(".")[0]}
            yield from sorted(names & NEVER_IMPORTED)
            if "pickle" in names and name not in PICKLES:
                yield "pickle"
        if isinstance(node, ast.Attribute) and ast.unparse(node) in NEVER_NAMED:
            yield ast.unparse(node)
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            wrong = (
                called in NEVER_CALLED and not (name in PICKLES and called == "pickle.loads"),
                called == "torch.load" and given.get("weights_only") != "True",
                called == "np.load" and given.get("allow_pickle", "False") != "False",
                given.get("shell", "False") != "False",
            )
            if any(wrong):
                yield called


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_runs_nothing_that_a_file_says(path: Path) -> None:
    name = str(path.relative_to(PACKAGE))
    assert list(faults(path.read_text(encoding="utf-8"), name)) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib",
        "from cloudpickle import load",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text)",
        "class Mine(yaml.UnsafeLoader): pass",
        "yaml.unsafe_load(text)",
        "eval(text)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_the_check_finds_a_way_in(code: str) -> None:
    assert len(list(faults(code))) == 1


def test_the_check_lets_the_safe_ways_be() -> None:
    assert not list(faults("torch.load(p, weights_only=True); np.load(p); yaml.SafeLoader(t)"))


class Silent:
    """A display that shows nothing."""

    def trial_started(self, trial_id: str, params: object, step: int) -> None: ...

    def trial_progress(self, trial_id: str, step: int, metrics: object) -> None: ...

    def trial_ended(self, trial_id: str, status: str, reason: str, metrics: object) -> None: ...
    def message(self, text: str) -> None: ...


@pytest.fixture
def planned(tmp_path: Path) -> Sweep:
    (tmp_path / "space.yaml").write_text(SPACE)
    return plan(SweepOptions(space=tmp_path / "space.yaml", out=tmp_path / "out", name="s"))


def tidy(made: Sweep) -> None:
    sweep._tidy(made)


def test_a_link_among_the_trials_is_not_followed(planned: Sweep, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    write_json(elsewhere / "status.json", {"trial": "t0007", "status": "running"})
    planned.trials_folder.mkdir()
    (planned.trials_folder / "t0007").symlink_to(elsewhere)
    with pytest.raises(SweepError, match=r"t0007 must be a trial's own folder, got a link\."):
        tidy(planned)
    assert [path.name for path in elsewhere.iterdir()] == ["status.json"]


@pytest.mark.parametrize(
    "name", ["study.journal", "sweep.log", "trials", "trials/t0000/metrics.jsonl", "finalists/x"]
)
@pytest.mark.parametrize("kind", ["a link", "a pipe or a device"])
def test_a_sweep_that_writes_by_a_link_or_a_pipe_is_not_resumed(
    planned: Sweep, tmp_path: Path, name: str, kind: str
) -> None:
    (tmp_path / "mine").write_text("kept")
    (planned.folder / name).parent.mkdir(parents=True, exist_ok=True)
    (planned.folder / name).unlink(missing_ok=True)
    if kind == "a link":
        (planned.folder / name).symlink_to(tmp_path / "mine")
    else:
        os.mkfifo(planned.folder / name)
    options = SweepOptions(
        space=tmp_path / "space.yaml", out=tmp_path / "out", name="s", resume=True
    )
    with pytest.raises(SweepError, match=rf"{name} must be the sweep's own, got {kind}\. Remove"):
        plan(options)
    (planned.folder / name).unlink()
    assert plan(options).folder == planned.folder


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", '{"status": "happy", "params": {}, "metrics": {}}'),
        '{"status": "completed", "params": [], "metrics": {}}',
        '{"status": "completed", "params": {}, "metrics": {"val/kl_health": "1"}}',
        f'{{"status": "completed", "params": {{}}, "metrics": {{"val/kl_health": {10**400}}}}}',
    ],
)
def test_a_sweep_with_a_damaged_status_is_not_resumed(planned: Sweep, text: str) -> None:
    path = planned.trials_folder / "t0000" / "status.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(SweepError, match=rf"^{path} is damaged: it does not say how its trial is"):
        statuses(planned.trials_folder)


@pytest.mark.parametrize(
    "text",
    ["a: 1", "space: 3", "space: {budget: 3}", "space: {}", "made_by: 3\nspace: [1]"],
)
def test_a_sweep_with_a_damaged_record_is_not_resumed(
    planned: Sweep, tmp_path: Path, text: str
) -> None:
    (planned.folder / "sweep.yaml").write_text(text)
    with pytest.raises(SweepError, match=r"sweep\.yaml is damaged|must be given the space that"):
        plan(
            SweepOptions(
                space=tmp_path / "space.yaml", out=tmp_path / "out", name="s", resume=True
            )
        )


def test_only_what_a_sweep_made_is_tidied_away(planned: Sweep, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("kept")
    for name in ("t0000", "tunes", "t12", "t0001x"):
        (planned.trials_folder / name).mkdir(parents=True)
    (planned.folder / ".best.1234abcd.old").symlink_to(elsewhere)
    tidy(planned)
    assert {path.name for path in planned.trials_folder.iterdir()} == {"tunes", "t12", "t0001x"}
    assert not (planned.folder / ".best.1234abcd.old").is_symlink()
    assert (elsewhere / "kept").exists()


@pytest.mark.parametrize("said", ["../../elsewhere", "/etc", "t0001/../../x"])
def test_what_a_status_says_it_is_called_leads_nowhere(planned: Sweep, said: str) -> None:
    metrics = {"val/kl_health": 0.5, "val/disentanglement": 0.5, "val/reconstruction_score": 0.5}
    status = {"trial": said, "status": "completed", "metrics": {**metrics, "val/score": 0.5}}
    write_json(planned.trials_folder / "t0000" / "status.json", status)
    assert trial_at_rank(planned.folder, 1).trial == "t0000"


def test_no_secret_of_the_environment_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = {
        "RAY_AUTH_TOKEN": "5ec2e7" * 10,
        "AWS_SECRET_ACCESS_KEY": "wJalr" * 8,
        "GOOGLE_APPLICATION_CREDENTIALS": "/home/me/key-5ec2e7.json",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "space.yaml").write_text(SPACE)
    made = plan(SweepOptions(space=tmp_path / "space.yaml", out=tmp_path / "out", name="s"))
    recorder = Recorder(made.trials_folder, Silent())
    recorder.propose("t0000", {"optimizer.lr": 0.01}, small_config())
    recorder.start("t0000")
    recorder.report("t0000", [{"step": 1, "val/score": 0.5}])
    recorder.end("t0000", "completed", "")
    write_yaml(made.folder / "best" / "config.yaml", to_plain(small_config()))
    written = [path.read_bytes() for path in made.folder.rglob("*") if path.is_file()]
    assert len(written) > 4
    for name, value in secrets.items():
        assert not any(value.encode() in text for text in written), name


JOINING = """
import ray
from ray._raylet import AuthenticationMode, get_authentication_mode
from aurl.search.cluster import connected

def init(**given):
    shown = get_authentication_mode() == AuthenticationMode.TOKEN
    print(given["address"], shown, given["runtime_env"])
    raise ValueError("far enough")

ray.init = init
import aurl.search.cluster as cluster
cluster._reach = lambda address: None
try:
    with connected("192.0.2.1:6379"):
        pass
except Exception as error:
    assert "far enough" in str(error), error
"""


def test_a_cluster_that_is_joined_is_shown_the_token() -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", JOINING],
        env={**kept, "RAY_AUTH_TOKEN": "a" * 64, "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    where, shown, told = done.stdout.split(maxsplit=2)
    assert (where, shown) == ("192.0.2.1:6379", "True")
    variables = ast.literal_eval(told)["env_vars"]
    assert variables["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] == "0.2", "they hear what a sweep sets"
    assert not [name for name in variables if "TOKEN" in name]
