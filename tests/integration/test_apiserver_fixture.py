"""The API server of the tests does what the tests of submit, status and logs rely on."""

from __future__ import annotations

import http.server
import threading
import urllib.error

import pytest
import urllib3
from apiserver import ApiRefusalError, ApiServer
from cluster_hands import Hands
from kubelet_stub import Kubelet

pytestmark = [pytest.mark.apiserver, pytest.mark.slow, pytest.mark.filterwarnings("ignore:Unverified HTTPS")]

TEMPLATE = {
    "metadata": {"labels": {"visionjobs/role": "head"}},
    "spec": {"containers": [{"name": "ray", "image": "example/visionjobs:1"}]},
}
SUBMITTER = {"spec": {"restartPolicy": "Never", "containers": [{"name": "submit", "image": "example/visionjobs:1"}]}}


def rayjob(name: str) -> dict[str, object]:
    worker = {"groupName": "gpu", "replicas": 2, "minReplicas": 2, "maxReplicas": 2, "rayStartParams": {}}
    cluster = {
        "rayVersion": "2.60.0",
        "authOptions": {"mode": "token"},
        "headGroupSpec": {"rayStartParams": {}, "template": TEMPLATE},
        "workerGroupSpecs": [worker | {"template": TEMPLATE}],
    }
    spec = {"entrypoint": "true", "submitterPodTemplate": SUBMITTER, "rayClusterSpec": cluster}
    return {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": name}, "spec": spec}


def batch_job(name: str) -> dict[str, object]:
    template = {"spec": {"restartPolicy": "Never", "containers": TEMPLATE["spec"]["containers"]}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": template}}


def test_a_rayjob_and_its_retry_as_the_operator_would(apiserver: ApiServer, namespace: str, hands: Hands) -> None:
    apiserver.create(rayjob("one"), namespace)
    first = hands.start_rayjob("one")
    assert len(first.workers) == 2
    hands.run_pod(first.head)
    assert apiserver.get("pods", namespace, first.head)["status"]["containerStatuses"][0]["ready"]
    assert apiserver.get("secrets", namespace, first.name)["data"].keys() == {"auth_token"}
    hands.end_pod(first.submitter, 1)
    second = hands.retry_rayjob("one", first)
    assert second.name != first.name
    status = apiserver.get("rayjobs", namespace, "one")["status"]
    assert status["rayClusterName"] == second.name
    assert status["failed"] == 1
    heads = apiserver.items("pods", namespace, "ray.io/node-type=head,visionjobs/role=head")
    assert [head["metadata"]["name"] for head in heads] == [second.head]


def test_states_that_a_pod_can_be_in(apiserver: ApiServer, namespace: str, hands: Hands) -> None:
    apiserver.create(batch_job("one"), namespace)
    for act, arguments, reason in [
        (hands.wait_pod, ("ImagePullBackOff", "no such image"), "ImagePullBackOff"),
        (hands.end_pod, (137, "OOMKilled"), "OOMKilled"),
        (hands.evict_pod, ("The node was low on resource: ephemeral-storage.",), "Evicted"),
        (hands.unschedulable_pod, ("0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",), "Unschedulable"),
    ]:
        pod = hands.job_pod("one")
        act(pod, *arguments)
        assert reason in str(apiserver.get("pods", namespace, pod)["status"])
    hands.event("jobs", "one", "FailedCreate", "exceeded quota: visionjobs")
    assert "exceeded quota" in apiserver.kubectl("-n", namespace, "get", "events")
    hands.end_job("one", succeeded=False)
    assert apiserver.get("jobs", namespace, "one")["status"]["conditions"][0]["reason"] == "BackoffLimitExceeded"
    hands.gpus(4, "NVIDIA-H100")
    assert apiserver.get("nodes", None, hands.kubelet.node)["status"]["allocatable"]["nvidia.com/gpu"] == "4"


def test_logs_are_followed_ended_and_cut(apiserver: ApiServer, namespace: str, hands: Hands, kubelet: Kubelet) -> None:
    from kubernetes import client

    apiserver.create(batch_job("one"), namespace)
    pod = hands.job_pod("one")
    with pytest.raises(AssertionError, match="waiting to start"):
        apiserver.kubectl("-n", namespace, "logs", pod)
    core = client.CoreV1Api(apiserver.client())
    log = kubelet.log(namespace, pod, "ray")
    log.write("epoch 1\nepoch 2\n")
    assert core.read_namespaced_pod_log(pod, namespace, tail_lines=1) == "epoch 2\n"
    stream = core.read_namespaced_pod_log(pod, namespace, follow=True, timestamps=True, _preload_content=False)
    log.wait_for_reader()
    log.write("epoch 3\n")
    log.end()
    lines = stream.data.decode().splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["epoch 1", "epoch 2", "epoch 3"]
    assert "follow=true" in kubelet.asked[-1]
    broken = kubelet.log(namespace, pod, "ray", previous=True)
    broken.write("before\n")
    broken.cut()
    part = core.read_namespaced_pod_log(pod, namespace, follow=True, previous=True, _preload_content=False)
    assert part.read() == b"before\n", "the server ends the answer as if the container had ended"


def test_ports_are_forwarded(apiserver: ApiServer, namespace: str, hands: Hands, kubelet: Kubelet) -> None:
    from kubernetes import client
    from kubernetes.stream import portforward

    class Hello(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"the dashboard" * 20_000)

        def log_message(self, *arguments: object) -> None: ...

    backend = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello)
    threading.Thread(target=backend.serve_forever, daemon=True).start()
    apiserver.create(batch_job("one"), namespace)
    pod = hands.job_pod("one")
    kubelet.forward(namespace, pod, 8265, to=backend.server_port)
    core = client.CoreV1Api(apiserver.client())
    forward = portforward(core.connect_get_namespaced_pod_portforward, pod, namespace, ports="8265,9")
    carried = forward.socket(8265)
    carried.setblocking(True)
    carried.sendall(b"GET / HTTP/1.0\r\n\r\n")
    answer = b""
    while data := carried.recv(65536):
        answer += data
    backend.shutdown()
    assert answer.endswith(b"the dashboard" * 20_000)
    assert "refused" in forward.error(9)


def test_a_user_may_do_nothing_or_what_a_role_allows(apiserver: ApiServer, namespace: str) -> None:
    nobody = apiserver.user(namespace, "nobody")
    with pytest.raises(AssertionError, match="Forbidden"):
        apiserver.kubectl("get", "pods", kubeconfig=nobody)
    role = ["create", "role", "reader", "--verb=get,list", "--resource=pods"]
    apiserver.kubectl("-n", namespace, *role)
    apiserver.kubectl("get", "pods", kubeconfig=apiserver.user(namespace, "jane", "reader"))


def test_who_follows_is_thrown_out_when_it_goes_away(
    apiserver: ApiServer, namespace: str, hands: Hands, kubelet: Kubelet
) -> None:
    from kubernetes import client

    apiserver.create(batch_job("one"), namespace)
    pod = hands.job_pod("one")
    log = kubelet.log(namespace, pod, "ray")
    log.write("epoch 1\n")
    core = client.CoreV1Api(apiserver.client())
    stream = core.read_namespaced_pod_log(pod, namespace, follow=True, _preload_content=False)
    log.wait_for_reader()
    assert stream.read(8) == b"epoch 1\n"
    with apiserver.away():
        with pytest.raises((urllib3.exceptions.ProtocolError, OSError)):
            stream.read()


def test_it_goes_away_and_comes_back_with_what_it_knew(apiserver: ApiServer, namespace: str) -> None:
    url = apiserver.url
    apiserver.create(batch_job("one"), namespace)
    with apiserver.away():
        with pytest.raises(urllib.error.URLError):
            apiserver.get("jobs", namespace, "one")
    assert apiserver.get("jobs", namespace, "one")["metadata"]["name"] == "one"
    apiserver.stop()
    apiserver.start()
    assert apiserver.url == url
    with pytest.raises(ApiRefusalError, match="404"):
        apiserver.get("jobs", namespace, "two")
