"""What KubeRay takes in a RayCluster and a RayJob, as a JSON schema of our own.

The fields are those that KubeRay's reference of its custom resources documents
(https://docs.ray.io/en/master/kuberay/references/api.html); those that we would never use are left
out, and are refused. A pod template is any object here: Kubernetes' own schema has its say on it.
"""

from typing import Any

TEXT: dict[str, Any] = {"type": "string"}
TRUTH: dict[str, Any] = {"type": "boolean"}
COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
TEXTS: dict[str, Any] = {"type": "object", "additionalProperties": {"type": "string"}}
ANYTHING: dict[str, Any] = {"type": "object"}


def one_of(*names: str) -> dict[str, Any]:
    return {"enum": list(names)}


def fields(*, required: tuple[str, ...] = (), **known: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": known,
        "required": list(required),
        "additionalProperties": False,
    }


WORKER_GROUP = fields(
    groupName=TEXT,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    idleTimeoutSeconds=COUNT,
    numOfHosts=COUNT,
    rayStartParams=TEXTS,
    template=ANYTHING,
    required=("groupName", "minReplicas", "maxReplicas", "template"),
)
CLUSTER_SPEC = fields(
    rayVersion=TEXT,
    suspend=TRUTH,
    authOptions=fields(mode=one_of("disabled", "token"), secretName=TEXT),
    enableInTreeAutoscaling=TRUTH,
    autoscalerOptions=fields(
        version=one_of("v1", "v2"),
        idleTimeoutSeconds=COUNT,
        upscalingMode=one_of("Default", "Aggressive", "Conservative"),
        resources=ANYTHING,
        image=TEXT,
    ),
    headGroupSpec=fields(
        serviceType=one_of("ClusterIP", "NodePort", "LoadBalancer"),
        enableIngress=TRUTH,
        rayStartParams=TEXTS,
        template=ANYTHING,
        required=("template",),
    ),
    workerGroupSpecs={"type": "array", "items": WORKER_GROUP},
    required=("headGroupSpec",),
)
JOB_SPEC = fields(
    entrypoint=TEXT,
    submissionMode=one_of("K8sJobMode", "HTTPMode", "InteractiveMode"),
    backoffLimit=COUNT,
    activeDeadlineSeconds={"type": "integer", "minimum": 1},
    shutdownAfterJobFinishes=TRUTH,
    ttlSecondsAfterFinished=COUNT,
    suspend=TRUTH,
    submitterPodTemplate=ANYTHING,
    rayClusterSpec=CLUSTER_SPEC,
)


def _resource(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = fields(name=TEXT, namespace=TEXT, labels=TEXTS, required=("name",))
    return fields(
        apiVersion=one_of("ray.io/v1"),
        kind=one_of(kind),
        metadata=metadata,
        spec=spec,
        required=("apiVersion", "kind", "metadata", "spec"),
    )


RESOURCES = {
    "RayCluster": _resource("RayCluster", CLUSTER_SPEC),
    "RayJob": _resource("RayJob", JOB_SPEC),
}
