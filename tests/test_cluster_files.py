"""Every file of ``cluster/``, checked without a cluster; and every check, on a damaged copy."""

import copy
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import jsonschema
import kubernetes_validate
import pytest
import ray
import yaml
from click import ClickException
from ray.autoscaler._private import util

from aurl import cli
from tests import kuberay_schema

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "cluster"
LAUNCHER = ("aws.yaml", "gcp.yaml", "onprem.yaml")
KUBERNETES = ("kubernetes.yaml", "raycluster.yaml", "rayjob.yaml")
OTHER = ("Dockerfile", "slurm.sbatch", "README.md")
# Ray's schema lets any key pass in these two; the keys of a machine are those of EC2's
# RunInstances and of Compute Engine's Instance.
PROVIDER_KEYS = {
    "aws": {"type", "region", "cache_stopped_nodes"},
    "gcp": {"type", "region", "availability_zone", "project_id", "cache_stopped_nodes"},
    "local": {"type", "head_ip", "worker_ips"},
}
MACHINE_KEYS = {
    "aws": {
        *("InstanceType", "ImageId", "SecurityGroupIds", "InstanceInitiatedShutdownBehavior"),
        *("MetadataOptions", "HttpTokens", "BlockDeviceMappings", "DeviceName", "Ebs"),
        *("VolumeSize", "VolumeType", "Encrypted", "DeleteOnTermination"),
        *("InstanceMarketOptions", "MarketType"),
    },
    "gcp": {
        *("machineType", "tags", "items", "networkInterfaces", "subnetwork", "accessConfigs"),
        *("name", "type", "scheduling", "provisioningModel", "instanceTerminationAction"),
        *("onHostMaintenance", "automaticRestart", "disks", "boot", "autoDelete"),
        *("initializeParams", "diskSizeGb", "sourceImage"),
    },
    "local": set[str](),
}
WORDS = ROOT / "tests" / "data" / "cluster_words.txt"
KUBERNETES_VERSION = "1.33"
INSTRUCTIONS = {"FROM", "RUN", "WORKDIR", "COPY", "ENV", "USER"}
SECRET = re.compile(
    r"AKIA[0-9A-Z]{16}|PRIVATE KEY|\b[0-9a-f]{64}\b"
    r"|(?i:password|secret_?key|RAY_AUTH_TOKEN)\s*[=:]"
)


class WrongFileError(Exception):
    """What one of our own checks finds."""


WRONG = (
    WrongFileError,
    ClickException,
    ValueError,
    jsonschema.ValidationError,
    kubernetes_validate.ValidationError,
    kubernetes_validate.SchemaNotFoundError,
    yaml.YAMLError,
)


def must(held: bool, rule: str) -> None:
    if not held:
        raise WrongFileError(rule)


def text_of(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def documents(text: str) -> list[dict[str, Any]]:
    for node in yaml.compose_all(text, yaml.SafeLoader):
        check_keys(node)
    return list(yaml.safe_load_all(text))


def check_keys(node: yaml.Node) -> None:
    """Of a key that stands twice in a mapping, the last would win without a word."""
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value]
        must(len(keys) == len(set(keys)), f"a key stands once: {keys}")
    if not isinstance(node, yaml.ScalarNode):
        for each in node.value:
            for part in each if isinstance(each, tuple) else (each,):
                check_keys(part)


def words_in(text: str) -> set[str]:
    """Every word of a file, without its comments; options of sbatch stand in such."""
    lines = [
        line if line.startswith("#SBATCH") else re.split(r"(?:^|\s)#", line)[0]
        for line in text.splitlines()
    ]
    return set(re.findall(r"[A-Za-z][A-Za-z0-9]+", " ".join(lines)))


def check_spelling(text: str) -> None:
    """No engine's schema knows a shell's commands, a machine's region or an image's name."""
    unknown = words_in(text) - set(WORDS.read_text(encoding="utf-8").split())
    must(not unknown, f"words are known, or stand in {WORDS.name}: {sorted(unknown)}")


def check(name: str, text: str) -> None:
    """Raise one of ``WRONG`` if the text cannot stand as the file of that name."""
    checks: dict[str, Callable[[str], None]] = {
        **dict.fromkeys(LAUNCHER, check_launcher),
        **dict.fromkeys(KUBERNETES, check_kubernetes),
        "Dockerfile": check_container,
        "slurm.sbatch": check_batch_script,
    }
    checks[name](text)
    check_spelling(text)
    must(not SECRET.search(text), "no secret stands in a file")
    must("0.0.0.0/0" not in text, "nothing is open to the world")
    for command in sweeps_in(text):
        check_command(command)


def keys_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from keys_in(each)


def check_launcher(text: str) -> None:
    config = documents(text)[0]
    schema = json.loads((Path(ray.__file__).parent / "autoscaler/ray-schema.json").read_text())
    jsonschema.validate(config, schema)
    validator: Any = util
    validator.validate_config(validator.prepare_config(copy.deepcopy(config)))
    provider = config["provider"]["type"]
    must(set(config["provider"]) <= PROVIDER_KEYS[provider], "provider keys are known")
    for node in config.get("available_node_types", {}).values():
        unknown = set(keys_in(node["node_config"])) - MACHINE_KEYS[provider]
        must(not unknown, f"keys of a machine are known: {unknown}")
    starts = [
        line
        for section in ("head_start_ray_commands", "worker_start_ray_commands")
        for line in config[section]
        if "ray start" in line
    ]
    must(len(starts) == 2, "a head starts Ray and a worker does")
    must(all("RAY_AUTH_MODE=token" in line for line in starts), "Ray asks for a token")
    must("--dashboard-host=127.0.0.1" in starts[0], "the dashboard stays on the head")
    must("chmod 600 ~/.ray/auth_token" in config["setup_commands"], "the token is the owner's")
    if provider == "local":
        address = f"--node-ip-address={config['provider']['head_ip']} "
        must(address in starts[0], "workers are told the head's address as others know it")
        must("RAY_enable_autoscaler_v2=0" in starts[0], "the autoscaler starts every worker")
    else:
        check_bill(config)


def check_bill(config: dict[str, Any]) -> None:
    """What keeps the bill of a cloud bounded."""
    nodes = config["available_node_types"]
    head, worker = nodes["head"], nodes["worker"]
    must(0 < config["idle_timeout_minutes"] <= 15, "an idle worker goes")
    must(config["max_workers"] == worker["max_workers"] <= 8, "workers are bounded")
    must(worker["min_workers"] == 0, "no worker waits for work")
    must(head["resources"] == {"CPU": 0}, "no trial runs on the head")
    must(config["provider"]["cache_stopped_nodes"] is False, "machines end, disks with them")
    if config["provider"]["type"] == "aws":
        for node in (head["node_config"], worker["node_config"]):
            must(node["InstanceInitiatedShutdownBehavior"] == "terminate", "shutting down ends")
            disk = node["BlockDeviceMappings"][0]["Ebs"]
            must(disk["DeleteOnTermination"] is True, "disks go along")
            must(disk["VolumeSize"] <= 100, "disks are bounded")
            must(bool(node.get("SecurityGroupIds")), "the security group is the user's own")
        market = worker["node_config"].get("InstanceMarketOptions", {}).get("MarketType")
        must(market == "spot", "workers are spot machines")
        must("InstanceMarketOptions" not in head["node_config"], "the head is not")
    else:
        for node in (head["node_config"], worker["node_config"]):
            must(node["disks"][0]["autoDelete"] is True, "disks go along")
            size = node["disks"][0]["initializeParams"]["diskSizeGb"]
            must(size <= 100, "disks are bounded")
            must(node["tags"]["items"] == ["aurl"], "firewall rules know the machines")
            must("default" not in node["networkInterfaces"][0]["subnetwork"], "own network")
        model = worker["node_config"].get("scheduling", {}).get("provisioningModel")
        must(model == "SPOT", "workers are spot machines")
        must("scheduling" not in head["node_config"], "the head is not")


def check_kubernetes(text: str) -> None:
    for value in documents(text):
        kind = value.get("kind")
        if kind not in kuberay_schema.RESOURCES:
            kubernetes_validate.validate(value, KUBERNETES_VERSION, strict=True)
            check_service(value)
            continue
        jsonschema.validate(value, kuberay_schema.RESOURCES[kind])
        spec = value["spec"]
        cluster = spec["rayClusterSpec"] if kind == "RayJob" else spec
        head, workers = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
        templates = [head["template"], *(group["template"] for group in workers)]
        if kind == "RayJob":
            templates.append(spec["submitterPodTemplate"])
            must(spec["shutdownAfterJobFinishes"], "the cluster ends with its job")
            tries = 1 + spec["backoffLimit"]  # KubeRay counts the time of each anew
            must(spec["activeDeadlineSeconds"] * tries <= 36 * 3600, "the job ends")
            must(spec["ttlSecondsAfterFinished"] <= 3600, "the cluster goes after its job")
        for template in templates:
            check_pod(template)
        must(cluster["authOptions"] == {"mode": "token"}, "Ray asks for a token")
        must(cluster["rayVersion"] == pinned("ray"), "rayVersion is that of constraints.txt")
        must(head["rayStartParams"]["num-cpus"] == "0", "no trial runs on the head")
        must(head["serviceType"] == "ClusterIP", "the service stays inside")
        must(cluster["enableInTreeAutoscaling"], "workers come and go")
        must(0 < cluster["autoscalerOptions"]["idleTimeoutSeconds"] <= 900, "idle workers go")
        must(all(group["minReplicas"] == 0 for group in workers), "no worker waits for work")
        must(all(group["maxReplicas"] <= 8 for group in workers), "workers are bounded")


def check_service(value: dict[str, Any]) -> None:
    """What Kubernetes' schemas take for any text."""
    spec = value.get("spec", {})
    if value["kind"] == "PersistentVolumeClaim":
        must(spec["accessModes"] == ["ReadWriteMany"], "every node can write")
        must(int(spec["resources"]["requests"]["storage"].removesuffix("Gi")) <= 100, "bounded")
    if value["kind"] == "NetworkPolicy":
        must(spec["policyTypes"] == ["Ingress"], "who may come is said")
        own, operator = spec["ingress"]
        must("ports" not in own and own["from"] == [{"podSelector": spec["podSelector"]}], "own")
        must(operator["ports"] == [{"protocol": "TCP", "port": 8265}], "one port of another")


def check_pod(template: dict[str, Any]) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", **template}
    pod["metadata"] = {"name": "pod", **template["metadata"]}
    kubernetes_validate.validate(pod, KUBERNETES_VERSION, strict=True)
    must(template["metadata"]["labels"] == {"app": "aurl"}, "the network policy covers the pod")
    for container in template["spec"]["containers"]:
        must(container["image"].endswith(f"/aurl:{version()}"), "the image is this version's")
        size = container["resources"]
        must(set(size) == {"requests", "limits"}, "a pod has a size")
        for each in size.values():
            must({"cpu", "memory"} <= each.keys() <= {"cpu", "memory", "nvidia.com/gpu"}, "sizes")
            cpus = float(each["cpu"].removesuffix("m")) / (
                1000 if each["cpu"].endswith("m") else 1
            )
            must(cpus <= 8, "a pod is small")
            must(int(each.get("nvidia.com/gpu", 0)) <= 1, "a pod has one GPU at most")


def check_container(text: str) -> None:
    lines = text.replace("\\\n", " ").splitlines()
    steps = [line.split(None, 1) for line in lines if line.strip() and not line.startswith("#")]
    must(all(step[0] in INSTRUCTIONS for step in steps), "instructions are known")
    must(steps[0][0] == "FROM", "it begins with FROM")
    must(bool(re.fullmatch(r"python:3\.\d+[\w.-]*", steps[0][1])), "the base has a version")
    users = [step[1] for step in steps if step[0] == "USER"]
    must(users == ["ray"], "it does not run as root")
    copied = [name for step in steps if step[0] == "COPY" for name in step[1].split()[:-1]]
    must(all((ROOT / name).exists() for name in copied), "what is copied exists")
    must(not {".", "./"} & set(copied), "what is copied is named")
    runs = [step[1] for step in steps if step[0] == "RUN"]
    installs = [run for run in runs if "pip install" in run]
    must(len(installs) == 1, "it installs once")
    must("-c constraints.txt ." in installs[0], "it installs the versions of constraints.txt")
    must(not any("curl" in run or "http" in run for run in runs), "it runs nothing from the web")
    for run in runs:
        done = subprocess.run(["sh", "-nc", run], capture_output=True, check=False)
        must(done.returncode == 0, f"the shell can read {run!r}")


def check_batch_script(text: str) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("shellcheck")), "-"],
        input=text,
        text=True,
        capture_output=True,
        check=False,
    )
    must(done.returncode == 0, done.stdout)
    options = re.findall(r"^#SBATCH --([\w-]+)", text, flags=re.MULTILINE)
    known = {
        *("job-name", "nodes", "ntasks-per-node", "exclusive", "gpus-per-node", "mem", "time"),
        *("requeue", "signal", "output", "open-mode"),
    }
    must(set(options) == known, f"options of sbatch: {set(options) ^ known}")
    must("RAY_AUTH_MODE=token" in text, "Ray asks for a token")
    must("--dashboard-host=127.0.0.1" in text, "the dashboard stays on the head")
    must("SLURM_RESTART_COUNT" in text, "restarts are bounded")
    numbers = {
        name: int(value)
        for name, value in re.findall(r"(time|nodes|MOST_RESTARTS|@)=?(\d+)", text)
    }
    must(numbers["time"] <= 24 and numbers["nodes"] <= 4, "a job is bounded")
    must(numbers["MOST_RESTARTS"] <= 3, "restarts are few")
    must("--signal=B:USR1@" in text and "trap again USR1" in text, "the warning is heard")


def sweeps_in(text: str) -> list[str]:
    """The commands that run a sweep, each in one line, with an example for each variable."""
    flat = re.sub(r"\n +(?=--)", " ", re.sub(r"\s*\\\n\s*", " ", text))
    found = re.findall(r"python (?:\S*/)?run_sweep\.py (.*?)(?: &)?$", flat, flags=re.MULTILINE)
    counted = [re.sub(r'"\$\(\(.*?\)\)"', "1", each.removesuffix(' "$@"')) for each in found]
    return [re.sub(r'"?\$\{?\w+\}?"?', "x", each) for each in counted]


def check_command(words: str) -> None:
    with mock.patch.object(cli, "_ended", return_value=0):  # in place of running it
        try:
            cli.main(["sweep", *shlex.split(words)])
        except SystemExit as ended:
            raise WrongFileError(f"aurl does not take {words}") from ended


def version() -> str:
    found = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert found
    return found.group(1)


def pinned(package: str) -> str:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))[package]


CHECKED = (*LAUNCHER, *KUBERNETES, "Dockerfile", "slurm.sbatch")


def test_every_file_is_checked() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {*CHECKED, *OTHER}


@pytest.mark.parametrize("name", CHECKED)
def test_file_is_what_its_engine_takes(name: str) -> None:
    check(name, text_of(name))


@pytest.mark.parametrize("name", CHECKED)
def test_pinned_versions_are_those_of_constraints(name: str) -> None:
    for package, at in re.findall(r"'([\w-]+)==(.+?)'", text_of(name)):
        own = package in ("boto3", "google-api-python-client")  # of Ray's launcher, not of aurl
        assert re.fullmatch(r"[\d.]+", at) if own else pinned(package) == at
    assert not re.search(r"pip install (?!.*(==|-c constraints\.txt))", text_of(name))


def test_job_has_the_cluster_of_the_cluster_file() -> None:
    job, cluster = documents(text_of("rayjob.yaml"))[0], documents(text_of("raycluster.yaml"))[0]
    assert job["spec"]["rayClusterSpec"] == cluster["spec"]


def test_job_may_be_tried_again() -> None:
    assert documents(text_of("rayjob.yaml"))[0]["spec"]["entrypoint"].endswith(" --resume")
    assert any(command.endswith(" --resume") for command in sweeps_in(text_of("slurm.sbatch")))


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("aws.yaml", "setup_commands:", "setup_command:"),
        ("aws.yaml", "ssh_user:", "shh_user:"),
        ("aws.yaml", "  region:", "  regoin:"),
        ("aws.yaml", "InstanceType:", "InstanceTyp:"),
        ("aws.yaml", "MarketType: spot", "MarktType: spot"),
        ("aws.yaml", "head_node_type: head", "head_node_type: haed"),
        ("aws.yaml", "min_workers: 0", "min_workers: 1"),
        ("aws.yaml", "    max_workers: 4", "    max_workers: 400"),
        ("aws.yaml", "idle_timeout_minutes: 10", "idle_timeout_minutes: 600"),
        ("aws.yaml", "cache_stopped_nodes: false", "cache_stopped_nodes: true"),
        ("aws.yaml", "      SecurityGroupIds: [sg-REPLACE]\n", ""),
        ("aws.yaml", "RAY_AUTH_MODE=token", "RAY_AUTH_MOD=token"),
        ("aws.yaml", "--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0"),
        ("aws.yaml", "sg-REPLACE", "AKIAABCDEFGHIJKLMNOP"),
        ("aws.yaml", "max_workers: 4  #", "max_workers: 4\nmax_workers: 400  #"),
        ("aws.yaml", "DeleteOnTermination: true", "DeleteOnTermination: treu"),
        ("aws.yaml", "VolumeSize: 60", "VolumeSize: 6000"),
        ("aws.yaml", "us-west-2", "us-wset-2"),
        ("aws.yaml", "--address=$RAY_HEAD_IP", "--adress=$RAY_HEAD_IP"),
        ("aws.yaml", "sudo mount ", "suod mount "),
        ("gcp.yaml", "instanceTerminationAction: DELETE", "instanceTerminationAction: DELTE"),
        ("gcp.yaml", "diskSizeGb: 60", "diskSizeGb: 6000"),
        ("onprem.yaml", "make -C ~/aurl", "make -C ~/arul"),
        ("gcp.yaml", "project_id:", "projectid:"),
        ("gcp.yaml", "machineType:", "machinetype:"),
        ("gcp.yaml", "provisioningModel: SPOT", "provisioningModel: STANDARD"),
        ("gcp.yaml", "subnetworks/aurl", "subnetworks/default"),
        ("gcp.yaml", "autoDelete: true", "autoDelete: false"),
        ("onprem.yaml", "worker_ips:", "worker_ip:"),
        ("onprem.yaml", "  head_ip: 192.0.2.1\n", ""),
        ("onprem.yaml", "head_ip: 192.0.2.1", "head_ip: 192.0.2.9"),
        ("onprem.yaml", "autoscaler_v2=0", "autoscaler_v2=1"),
        ("kubernetes.yaml", "storageClassName:", "storageClasName:"),
        ("kubernetes.yaml", "[ReadWriteMany]", "[ReadWriteOnce]"),
        ("kubernetes.yaml", "storage: 50Gi", "storage: 5000Gi"),
        ("kubernetes.yaml", "port: 8265", "port: 6379"),
        ("kubernetes.yaml", "kubernetes.io/metadata.name", "kubernetes.io/metadata.nmae"),
        ("kubernetes.yaml", "podSelector:", "podSelektor:"),
        ("kubernetes.yaml", "kind: NetworkPolicy", "kind: NetworkPolicie"),
        ("raycluster.yaml", "authOptions: {mode: token}", "authOptions: {mode: tokn}"),
        ("raycluster.yaml", "workerGroupSpecs:", "workerGroupSpec:"),
        ("raycluster.yaml", "maxReplicas:", "maxReplica:"),
        ("raycluster.yaml", "image: REPLACE", "imag: REPLACE"),
        ("raycluster.yaml", "rayVersion: 2.60.0", "rayVersion: 2.59.0"),
        ("raycluster.yaml", "aurl:0.1.0", "aurl:latest"),
        ("raycluster.yaml", "labels: {app: aurl}", "labels: {app: arul}"),
        ("raycluster.yaml", "memory: 8Gi", "memroy: 8Gi"),
        ("raycluster.yaml", 'nvidia.com/gpu: "1"', 'nvidia.com/gpu: "8"'),
        ("raycluster.yaml", "operator: Exists", "operator: Exits"),
        ("rayjob.yaml", "backoffLimit: 2", "backoffLimit: 20"),
        ("rayjob.yaml", "ttlSecondsAfterFinished: 300", "ttlSecondsAfterFinished: 3000000"),
        ("rayjob.yaml", "search_spaces/quick", "search_space/quick"),
        ("rayjob.yaml", "shutdownAfterJobFinishes:", "shutdownAfterJobFinish:"),
        ("rayjob.yaml", "backoffLimit: 2", 'backoffLimit: "2"'),
        ("rayjob.yaml", "restartPolicy: Never", "restartPolice: Never"),
        ("rayjob.yaml", "--gpus-per-worker 1", "--gpu-per-worker 1"),
        ("rayjob.yaml", "  activeDeadlineSeconds: 43200", "  activeDeadlineSeconds: 4320000"),
        ("Dockerfile", "WORKDIR", "WORKDIRS"),
        ("Dockerfile", "USER ray\n", ""),
        ("Dockerfile", "COPY aurl aurl", "COPY arul aurl"),
        ("Dockerfile", "COPY aurl aurl", "COPY . ."),
        ("Dockerfile", "python:3.11-slim-bookworm", "python"),
        ("Dockerfile", "-c constraints.txt ", ""),
        ("Dockerfile", "&& rm", "&& (rm"),
        ("Dockerfile", "useradd", "usradd"),
        ("slurm.sbatch", "--time=12", "--time=120"),
        ("slurm.sbatch", "MOST_RESTARTS=3", "MOST_RESTARTS=300"),
        ("slurm.sbatch", "trap again USR1", "trap again USR2"),
        ("slurm.sbatch", "--kill-on-bad-exit", "--kil-on-bad-exit"),
        ("slurm.sbatch", "scontrol requeue", "scontrol reqeue"),
        ("slurm.sbatch", '"$OUT" \\', "$OUT \\"),
        ("slurm.sbatch", "exit 2\nfi", "exit 2"),
        ("slurm.sbatch", "#SBATCH --nodes", "#SBATCH --node"),
        ("slurm.sbatch", "--gpus-per-worker", "--gpu-per-worker"),
        ("slurm.sbatch", "export RAY_ADDRESS=", "export RAY_ADRESS="),
        ("slurm.sbatch", "RAY_AUTH_MODE=token", "RAY_AUTH_MODE=disabled"),
    ],
)
def test_a_planted_fault_is_found(name: str, right: str, wrong: str) -> None:
    text = text_of(name)
    assert right in text
    with pytest.raises(WRONG):
        check(name, text.replace(right, wrong))
