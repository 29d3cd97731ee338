"""``cluster/slurm.sbatch``, run by bash with stand-ins for Slurm's commands and Ray's."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SRUN = """\
#!/bin/bash
while [[ $1 == --* ]]; do shift; done
"$@"
"""
SCONTROL = """\
#!/bin/bash
echo "$*" >> "$TRIED/scontrol"
[[ $1 == show ]] && printf 'one\\ntwo\\n' || kill $(cat "$TRIED/pid")
"""
GETENT = "#!/bin/bash\necho '10.0.0.7  STREAM one'\necho '10.0.0.7  DGRAM'\n"
RAY = """\
#!/bin/bash
[[ $1 == stop ]] && { [[ -e $TRIED/ray ]] || touch "$TRIED/stopped"; exit; }
echo "$RAY_ADDRESS $RAY_AUTH_MODE $*" > "$TRIED/ray.part"
mv "$TRIED/ray.part" "$TRIED/ray"
[[ -n $LEADERBOARD ]] && echo rank > "$OUT/$NAME/leaderboard.csv"
[[ -n $SLOW ]] && echo $$ > "$TRIED/pid" && exec sleep 20
exit "${CODE:-0}"
"""


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, text in {"srun": SRUN, "scontrol": SCONTROL, "getent": GETENT, "ray": RAY}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (programs / "activate").write_text(f"PATH={programs}:$PATH\n")
    (tmp_path / "token").write_text("a" * 64)
    (tmp_path / "sweeps" / "quick").mkdir(parents=True)
    return tmp_path


def start(folder: Path, *words: str, **environment: str) -> "subprocess.Popen[str]":
    usual = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TRIED": str(folder),
        "OUT": str(folder / "sweeps"),
        "NAME": "quick",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "SLURM_JOB_ID": "123456",
        "SLURM_JOB_NODELIST": "one,two",
        "SLURM_NNODES": "2",
        "SLURM_CPUS_ON_NODE": "8",
        "LEADERBOARD": "1",
    }
    return subprocess.Popen(
        ["bash", str(ROOT / "cluster" / "slurm.sbatch"), *words],
        cwd=folder,
        env={**usual, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(folder: Path, *words: str, **environment: str) -> tuple[int, str]:
    process = start(folder, *words, **environment)
    said = process.communicate(timeout=30)[0]
    return process.returncode, said


def test_a_sweep_that_went_well_is_said_last(folder: Path) -> None:
    code, said = run(folder)
    assert (code, said) == (0, f"The sweep ended with code 0: {folder}/sweeps/quick\n")


@pytest.mark.parametrize(("nodes", "address"), [("1", "127.0.0.1:23456"), ("2", "10.0.0.7:23456")])
def test_the_head_is_where_other_nodes_find_it(folder: Path, nodes: str, address: str) -> None:
    run(folder, SLURM_NNODES=nodes)
    ray = (folder / "ray").read_text()
    assert ray.startswith(f"{address} token symmetric-run --address {address} --min-nodes {nodes}")
    assert f" -- python run_sweep.py search_spaces/quick.yaml --name quick --out {folder}" in ray


@pytest.mark.parametrize(("gpus", "each"), [("", 0), ("1", 1), ("4", 1)])
def test_a_worker_takes_a_gpu_if_the_nodes_have_any(folder: Path, gpus: str, each: int) -> None:
    run(folder, SLURM_GPUS_ON_NODE=gpus)
    ray = (folder / "ray").read_text()
    assert f" --num-gpus={gpus or 0} " in ray
    assert f" --gpus-per-worker {each} " in ray


def test_the_ray_of_a_job_that_was_cancelled_is_ended_first(folder: Path) -> None:
    run(folder)
    assert (folder / "stopped").exists()


def test_what_follows_the_files_name_goes_to_the_sweep(folder: Path) -> None:
    run(folder, "--data", "my music", "--trials", "4")
    assert (folder / "ray").read_text().endswith(" --resume --data my music --trials 4\n")


def test_without_a_token_nothing_is_started(folder: Path) -> None:
    (folder / "token").write_text("")
    code, said = run(folder)
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith(f"No token at {folder}/token: ray get-auth-token --generate && chmod")
    assert not (folder / "ray").exists()


@pytest.mark.parametrize("theirs", [1, 2, 143])
def test_a_sweep_that_failed_fails_the_job(folder: Path, theirs: int) -> None:
    code, said = run(folder, CODE=str(theirs))
    assert (code, said.splitlines()[-1][:26]) == (theirs, "The sweep ended with code ")


def test_a_ray_that_did_not_start_fails_the_job_though_it_says_nothing(folder: Path) -> None:
    assert run(folder)[0] == 0, "the results of before"
    code, said = run(folder, LEADERBOARD="")
    assert (code, said) == (1, "The sweep did not run: see above.\n")


@pytest.mark.parametrize(("restarts", "puts_back"), [("", True), ("2", True), ("3", False)])
def test_the_warning_puts_the_job_back_into_the_queue_so_many_times(
    folder: Path, restarts: str, puts_back: bool
) -> None:
    job = start(folder, SLOW="1", SLURM_RESTART_COUNT=restarts)
    began = time.monotonic()
    while not (folder / "pid").exists() and time.monotonic() - began < 20:
        time.sleep(0.02)
    job.send_signal(signal.SIGUSR1)
    if not puts_back:
        time.sleep(0.5)
        assert job.poll() is None, "it uses the time that is left"
        os.kill(int((folder / "pid").read_text()), signal.SIGTERM)
    job.communicate(timeout=20)
    assert ("requeue 123456\n" in (folder / "scontrol").read_text()) == puts_back
