"""Cluster files, checked without a cluster: by Ray's own schema and validator."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
from click import ClickException
from ray.autoscaler._private import util

from aurl.files import read_yaml

FOLDER = Path(__file__).parents[1] / "cluster"
LAUNCHER_FILES = sorted(FOLDER.glob("*.yaml"))
PROVIDER_KEYS = {"type", "head_ip", "worker_ips"}  # Ray's schema lets any key pass here


def check_launcher(config: dict[str, Any]) -> None:
    schema = json.loads((Path(ray.__file__).parent / "autoscaler/ray-schema.json").read_text())
    jsonschema.validate(config, schema)
    unknown = set(config["provider"]) - PROVIDER_KEYS
    if unknown:
        raise jsonschema.ValidationError(f"provider: {unknown}")
    validator: Any = util
    validator.validate_config(validator.prepare_config(copy.deepcopy(config)))


def test_there_is_a_cluster_file() -> None:
    assert LAUNCHER_FILES


@pytest.mark.parametrize("path", LAUNCHER_FILES, ids=lambda path: path.name)
def test_launcher_file_is_what_ray_takes(path: Path) -> None:
    check_launcher(read_yaml(path))


@pytest.mark.parametrize("path", LAUNCHER_FILES, ids=lambda path: path.name)
def test_launcher_file_keeps_the_dashboard_to_the_machine_and_asks_for_a_token(path: Path) -> None:
    config = read_yaml(path)
    starts = [
        line
        for section in ("head_start_ray_commands", "worker_start_ray_commands")
        for line in config[section]
        if " start " in line
    ]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token" in line for line in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]


def _with_typo(config: dict[str, Any]) -> None:
    config["setup_command"] = config.pop("setup_commands")


def _with_typo_below(config: dict[str, Any]) -> None:
    config["auth"]["shh_user"] = config["auth"].pop("ssh_user")


def _with_provider_typo(config: dict[str, Any]) -> None:
    config["provider"]["worker_ip"] = ["192.0.2.4"]


def _without_head(config: dict[str, Any]) -> None:
    del config["provider"]["head_ip"]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(_with_typo, id="typo"),
        pytest.param(_with_typo_below, id="typo_below"),
        pytest.param(_with_provider_typo, id="provider_typo"),
        pytest.param(_without_head, id="no_head"),
    ],
)
def test_check_refuses_a_damaged_file(damage: Callable[[dict[str, Any]], None]) -> None:
    config = read_yaml(FOLDER / "onprem.yaml")
    damage(config)
    with pytest.raises((jsonschema.ValidationError, ClickException)):
        check_launcher(config)
