"""What `make cluster-install` applies: builds, is valid, closed and consistent. Without a cluster."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
import kubernetes_validate
import kueue_crds
import pytest
import yaml
from cluster_manifests import CLUSTER, KUSTOMIZATIONS, OVERLAYS, allowed, build, of_kind

from visionjobs.runs import RUN_ID

RUN = {"visionjobs/run": "one"}
HEAD, WORKER = RUN | {"visionjobs/role": "head"}, RUN | {"visionjobs/role": "worker"}
SUBMITTER, JOB = RUN | {"visionjobs/role": "submitter"}, RUN | {"visionjobs/role": "job"}
ROLES = [HEAD, WORKER, SUBMITTER, JOB]


def namespaced(name: str, **pod: str) -> dict[str, Any]:
    return {"namespace": {"kubernetes.io/metadata.name": name}, "pod": pod}


OPERATOR = namespaced("kuberay-operator", **{"app.kubernetes.io/name": "kuberay-operator"})
PROMETHEUS = namespaced("monitoring", app="prometheus")
STORAGE = {"namespace": {"kubernetes.io/metadata.name": "minio", "visionjobs/storage": "true"}, "pod": {}}


def quantity(text: str) -> float:
    units = {"": 1, "m": 1e-3, "k": 1e3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    number, unit = re.fullmatch(r"([0-9.]+)(\w*)", str(text)).groups()
    return float(number) * units[unit]


@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_every_object_is_valid(name: str) -> None:
    for item in build(name):
        if item["apiVersion"] == kueue_crds.KUEUE:
            kueue_crds.check(item)
        else:
            kubernetes_validate.validate(item, kubernetes_validate.latest_version(), strict=True)


def test_a_mistaken_field_of_kueue_is_noticed() -> None:
    queue = of_kind("ClusterQueue", "overlays/kueue")["visionjobs"]
    for spec in (
        queue["spec"] | {"cohort": "v1beta1's"},
        queue["spec"] | {"preemption": {"withinClusterQueue": "Always"}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            kueue_crds.check(queue | {"spec": spec})


@pytest.mark.parametrize("path", sorted(CLUSTER.rglob("kustomization.yaml")), ids=lambda path: path.parent.name)
def test_only_words_that_kubectl_1_20_knows_too(path: Any) -> None:
    content = yaml.safe_load(path.read_text())
    assert set(content) <= {"bases", "resources", "patchesStrategicMerge"}
    for name in content.get("resources", []) + content.get("patchesStrategicMerge", []):
        assert (path.parent / name).is_file()


def test_every_file_is_applied_or_an_example() -> None:
    used = {"kustomization.yaml"}
    for path in CLUSTER.rglob("kustomization.yaml"):
        content = yaml.safe_load(path.read_text())
        listed = content.get("resources", []) + content.get("patchesStrategicMerge", [])
        assert not [name for name in listed if "example" in name]
        used |= set(listed)
    left = {path.name for path in CLUSTER.rglob("*.yaml")} - used
    assert left == {"secret.example.yaml", "submitter-binding.example.yaml"}


@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_nothing_secret_and_nothing_bound(name: str) -> None:
    kinds = {item["kind"] for item in build(name)}
    assert not kinds & {"Secret", "RoleBinding", "ClusterRoleBinding", "Pod", "Deployment", "Job", "DaemonSet"}


def test_the_example_secret_has_the_right_keys_and_no_values() -> None:
    secret = yaml.safe_load((CLUSTER / "secret.example.yaml").read_text())
    assert (secret["metadata"]["name"], secret["metadata"]["namespace"]) == ("visionjobs", "visionjobs")
    wanted = {
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "WANDB_API_KEY",
        "VISIONJOBS_NOTIFY_URL",
    }
    assert set(secret["stringData"]) == wanted
    assert set(secret["stringData"].values()) == {"EXAMPLE"}
    assert "data" not in secret


@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_names_and_namespaces(name: str) -> None:
    for item in build(name):
        assert item["metadata"]["labels"]["app.kubernetes.io/name"] == "visionjobs"
        everywhere = {
            "Namespace",
            "ClusterRole",
            "PriorityClass",
            "ResourceFlavor",
            "ClusterQueue",
            "WorkloadPriorityClass",
        }
        expected = None if item["kind"] in everywhere else "visionjobs"
        assert item["metadata"].get("namespace") == expected, item["kind"]
    assert "visionjobs" in of_kind("ServiceAccount", name)
    assert set(of_kind("PriorityClass", name)) == {"visionjobs-high", "visionjobs-normal", "visionjobs-low"}


def test_the_namespace_is_restricted() -> None:
    labels = of_kind("Namespace")["visionjobs"]["metadata"]["labels"]
    for mode in ("enforce", "audit", "warn"):
        assert labels[f"pod-security.kubernetes.io/{mode}"] == "restricted"
        assert labels[f"pod-security.kubernetes.io/{mode}-version"] == "latest"


def test_no_account_has_a_token_mounted() -> None:
    accounts = of_kind("ServiceAccount")
    assert set(accounts) == {"visionjobs", "default"}
    assert not any(account["automountServiceAccountToken"] for account in accounts.values())


@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_quota_and_limits_fit_what_is_rendered(name: str) -> None:
    hard = of_kind("ResourceQuota", name)["visionjobs"]["spec"]["hard"]
    assert {"requests.nvidia.com/gpu", "requests.cpu", "requests.memory", "limits.memory", "pods"} <= set(hard)
    assert hard["requests.memory"] == hard["limits.memory"]
    assert "limits.cpu" not in hard, "would refuse every container without a CPU limit"
    assert hard["services.loadbalancers"] == hard["services.nodeports"] == "0"
    limits = of_kind("LimitRange", name)["visionjobs"]["spec"]["limits"][0]
    assert set(limits["defaultRequest"]) == {"cpu", "memory"}, "the quota refuses what has no request"
    assert set(limits["default"]) == {"memory"}, "a default CPU limit refuses what requests more"


def test_overlays_differ_in_their_gpus() -> None:
    counts = {
        name: int(of_kind("ResourceQuota", f"overlays/{name}")["visionjobs"]["spec"]["hard"]["requests.nvidia.com/gpu"])
        for name in OVERLAYS
    }
    assert counts["one-gpu"] == 1 < counts["kueue"] <= counts["multi-gpu"]


def test_nothing_reaches_a_pod_but_operator_and_monitoring() -> None:
    stranger = namespaced("default", app="anything")
    neighbour = namespaced("visionjobs", **{"visionjobs/run": "another", "visionjobs/role": "worker"})
    for pod in [*ROLES, {}]:
        for port in (22, 6379, 8080, 8265, 10001, 40_000):
            assert not allowed("ingress", pod, stranger, port)
            assert not allowed("ingress", pod, neighbour, port)
            assert not allowed("ingress", pod, {"ip": "10.0.0.7"}, port)
            assert allowed("ingress", pod, OPERATOR, port) == (pod is HEAD and port in (6379, 8265))
            assert allowed("ingress", pod, PROMETHEUS, port) == (pod in (HEAD, WORKER) and port == 8080)
    other_pod_beside_the_operator = namespaced("kuberay-operator", app="shell")
    assert not allowed("ingress", HEAD, other_pod_beside_the_operator, 8265)


@pytest.mark.parametrize("pod", ROLES, ids=lambda pod: pod["visionjobs/role"])
def test_pods_reach_dns_https_and_storage_only(pod: dict[str, str]) -> None:
    dns = namespaced("kube-system", **{"k8s-app": "kube-dns"})
    assert allowed("egress", pod, dns, 53, "UDP")
    assert allowed("egress", pod, dns, 53, "TCP")
    assert not allowed("egress", pod, dns, 443)
    works = pod is not SUBMITTER  # which talks to its head alone, by the run's own policy
    assert allowed("egress", pod, {"ip": "52.216.1.1"}, 443) is works
    assert allowed("egress", pod, {"ip": "2600:1f18::1"}, 443) is works
    for port in (22, 25, 53, 80, 6379):
        assert not allowed("egress", pod, {"ip": "52.216.1.1"}, port)
    assert allowed("egress", pod, STORAGE, 9000) is works
    assert not allowed("egress", pod, STORAGE, 22)
    assert not allowed("egress", pod, namespaced("default"), 9000)


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "168.63.129.16", "100.100.100.200", "fd00:ec2::254", "fe80::1",  # metadata services
     "10.96.0.1", "172.16.0.1", "192.168.1.1", "fd12::1"],  # the API server, and what else is private
)  # fmt: skip
def test_metadata_services_and_private_addresses_are_out_of_reach(address: str) -> None:
    for pod in ROLES:
        for port in (80, 443):
            assert not allowed("egress", pod, {"ip": address}, port)


def test_the_rule_for_eks_pod_identity_is_one_when_its_comment_signs_are_taken_away() -> None:
    text = (CLUSTER / "base" / "network-policies.yaml").read_text()
    found = re.search(r"    # EDIT with EKS Pod Identity.*\n((?:    # .*\n)+)", text)
    assert found
    text = text.replace(found[0], found[1].replace("    # ", "    "))
    policies = {policy["metadata"]["name"]: policy for policy in yaml.safe_load_all(text)}
    rule = policies["visionjobs.pods-to-https"]["spec"]["egress"][1]
    assert rule["to"][0] == {"ipBlock": {"cidr": "169.254.170.23/32"}}
    assert rule["ports"] == [{"protocol": "TCP", "port": 80}]
    for policy in policies.values():
        kubernetes_validate.validate(policy, kubernetes_validate.latest_version(), strict=True)


def test_no_run_can_be_named_like_a_policy_of_ours() -> None:
    """Applied by force it would take its place."""
    names = of_kind("NetworkPolicy")
    assert names
    assert not any(RUN_ID.match(name) for name in names)


def test_quotas_do_not_fill_up_with_what_has_ended() -> None:
    """KubeRay leaves finished RayJobs, and with them Jobs, Services and NetworkPolicies."""
    for name in KUSTOMIZATIONS:
        hard = of_kind("ResourceQuota", name)["visionjobs"]["spec"]["hard"]
        counts = {key: quantity(value) for key, value in hard.items() if key.startswith("count/")}
        assert counts
        assert all(value >= 1000 for value in counts.values()), counts


def test_a_pod_without_our_labels_reaches_nothing() -> None:
    assert not allowed("egress", {}, {"ip": "52.216.1.1"}, 443)
    assert not allowed("egress", {}, namespaced("kube-system"), 53, "UDP")


def test_priorities_are_ordered_and_never_above_services() -> None:
    classes = of_kind("PriorityClass")
    high, normal, low = (classes[f"visionjobs-{level}"] for level in ("high", "normal", "low"))
    assert 0 >= high["value"] > normal["value"] > low["value"] >= -10, "the cluster autoscaler's cutoff is -10"
    assert not any(item.get("globalDefault") for item in classes.values())
    assert low["preemptionPolicy"] == "Never"


def test_the_queue_leads_from_the_namespace_to_known_flavors_within_the_quota() -> None:
    name = "overlays/kueue"
    local, queue = of_kind("LocalQueue", name)["visionjobs"], of_kind("ClusterQueue", name)["visionjobs"]
    assert local["spec"]["clusterQueue"] == "visionjobs"
    assert queue["spec"]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "visionjobs"}
    assert queue["spec"]["preemption"]["withinClusterQueue"] == "LowerPriority"
    (group,) = queue["spec"]["resourceGroups"]
    assert [flavor["name"] for flavor in group["flavors"]] == ["visionjobs-cpu", "visionjobs-gpu"]
    assert set(of_kind("ResourceFlavor", name)) == {"visionjobs-cpu", "visionjobs-gpu"}
    hard = of_kind("ResourceQuota", name)["visionjobs"]["spec"]["hard"]
    for resource in group["coveredResources"]:
        quotas = [entry for flavor in group["flavors"] for entry in flavor["resources"] if entry["name"] == resource]
        assert len(quotas) == len(group["flavors"]), "each flavor lists every covered resource (Kueue's own rule)"
        assert sum(quantity(entry["nominalQuota"]) for entry in quotas) <= quantity(hard[f"requests.{resource}"])
    levels = of_kind("WorkloadPriorityClass", name)
    high, normal, low = (levels[f"visionjobs-{level}"]["value"] for level in ("high", "normal", "low"))
    assert high > normal > low


def test_no_role_can_do_everything() -> None:
    for role in [*of_kind("Role").values(), *of_kind("ClusterRole").values()]:
        for rule in role["rules"]:
            assert "*" not in rule["apiGroups"] + rule["resources"] + rule["verbs"]
            too_much = {"pods/exec", "roles", "rolebindings", "serviceaccounts/token"}
            too_much -= {"pods/exec"} if role["metadata"]["name"] == "visionjobs-dashboard" else set()
            assert not set(rule["resources"]) & too_much
            if role["kind"] == "ClusterRole":
                assert set(rule["verbs"]) <= {"get", "list"}
