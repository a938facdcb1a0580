"""The Python client against a cluster: typed objects, patches, selectors, an informer through faults, commands and ports of pods. Ends
with 0 when all is right.

usage: client.py KUBECONFIG FAULTS_URL TOKEN
"""

import json
import ssl
import sys
import threading
import time
import urllib.request

from kubernetes import client, config, dynamic, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.informer import SharedInformer
from kubernetes.stream import portforward, stream

kubeconfig, faults_url, token = sys.argv[1:4]
config.load_kube_config(kubeconfig)
core, apps = client.CoreV1Api(), client.AppsV1Api()


def faults(**wanted):
    request = urllib.request.Request(faults_url, json.dumps(wanted).encode(), method="POST")
    request.add_header("Authorization", f"Bearer {token}")
    request.add_header("Content-Type", "application/json")
    # The authority is of no interest here.
    with urllib.request.urlopen(request, context=ssl._create_unverified_context()) as answer:
        assert answer.status == 200


def eventually(what, holds, within=30):
    end = time.monotonic() + within
    while not holds():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.02)


def deployment(name, replicas):
    container = client.V1Container(name="main", image="web:1", ports=[client.V1ContainerPort(container_port=8080)])
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels={"app": name}), spec=client.V1PodSpec(containers=[container])
    )
    spec = client.V1DeploymentSpec(
        replicas=replicas, selector=client.V1LabelSelector(match_labels={"app": name}), template=template
    )
    return client.V1Deployment(metadata=client.V1ObjectMeta(name=name), spec=spec)


def ready(name):
    return apps.read_namespaced_deployment(name, "default").status.ready_replicas or 0


def typed_objects():
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name="py")))
    made = core.create_namespaced_config_map(
        "py", client.V1ConfigMap(metadata=client.V1ObjectMeta(name="a"), data={"x": "1"})
    )
    made.data["x"] = "2"
    core.replace_namespaced_config_map("a", "py", made)
    try:
        core.replace_namespaced_config_map("a", "py", made)
        raise AssertionError("a stale version is refused")
    except ApiException as error:
        assert error.status == 409 and json.loads(error.body)["reason"] == "Conflict", error
    core.create_namespaced_secret("py", client.V1Secret(metadata=client.V1ObjectMeta(name="s"), string_data={"p": "q"}))
    assert core.read_namespaced_secret("s", "py").data == {"p": "cQ=="}
    try:
        core.read_namespaced_pod("nobody", "py")
        raise AssertionError("nobody is there")
    except ApiException as error:
        assert error.status == 404 and json.loads(error.body)["details"]["name"] == "nobody", error


def pages():
    for number in range(25):
        core.create_namespaced_config_map(
            "py", client.V1ConfigMap(metadata=client.V1ObjectMeta(name=f"page-{number:02}", labels={"page": "yes"}))
        )
    seen, token = [], None
    while True:
        page = core.list_namespaced_config_map("py", label_selector="page=yes", limit=10, _continue=token)
        seen += [item.metadata.name for item in page.items]
        token = page.metadata._continue
        if not token:
            break
    assert seen == [f"page-{number:02}" for number in range(25)], seen
    left = core.delete_collection_namespaced_config_map("py", label_selector="page=yes")
    assert left is not None
    assert core.list_namespaced_config_map("py", label_selector="page=yes").items == []


def informer():
    apps.create_namespaced_deployment("default", deployment("web", 3))
    told = {"ADDED": 0, "MODIFIED": 0, "DELETED": 0}
    lock = threading.Lock()
    pods = SharedInformer(core.list_namespaced_pod, namespace="default", label_selector="app=web")

    def count(kind):
        def handler(_):
            with lock:
                told[kind] += 1

        return handler

    for kind in told:
        pods.add_event_handler(kind, count(kind))
    pods.start()
    names = lambda: {pod.metadata.name for pod in pods.cache.list()}
    there = lambda: {pod.metadata.name for pod in core.list_namespaced_pod("default", label_selector="app=web").items}
    eventually("three pods", lambda: len(names()) == 3 and ready("web") == 3)
    # The watch breaks, and what it might go on from is forgotten.
    faults(drop_watches=True)
    faults(compact=True)
    apps.patch_namespaced_deployment_scale("web", "default", {"spec": {"replicas": 5}})
    eventually("five pods after a break", lambda: len(names()) == 5 and names() == there())
    faults(api_errors=0.3, seed=7)
    end = time.monotonic() + 3
    while time.monotonic() < end:
        try:
            apps.patch_namespaced_deployment_scale("web", "default", {"spec": {"replicas": 2}})
            break
        except ApiException as error:
            assert error.status == 500, error
    faults(api_errors=0.0)
    eventually("two pods after errors", lambda: len(names()) == 2 and names() == there())
    pods.stop()
    assert told["ADDED"] >= 5 and told["DELETED"] >= 3 and told["MODIFIED"] > 0, told


def watches():
    seen = []
    events = watch.Watch()
    first = core.list_namespaced_config_map("py").metadata.resource_version
    core.create_namespaced_config_map("py", client.V1ConfigMap(metadata=client.V1ObjectMeta(name="w")))
    core.patch_namespaced_config_map("w", "py", {"data": {"a": "b"}})
    core.delete_namespaced_config_map("w", "py")
    for event in events.stream(core.list_namespaced_config_map, "py", resource_version=first, timeout_seconds=20):
        seen.append((event["type"], event["object"].metadata.name))
        if event["type"] == "DELETED":
            events.stop()
    assert seen == [("ADDED", "w"), ("MODIFIED", "w"), ("DELETED", "w")], seen


def dynamic_client():
    anything = dynamic.DynamicClient(client.ApiClient())
    deployments = anything.resources.get(api_version="apps/v1", kind="Deployment")
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 4}}
    done = deployments.server_side_apply(body, namespace="default", field_manager="py", force_conflicts=True)
    assert done.spec.replicas == 4 and any(e.manager == "py" and e.operation == "Apply" for e in done.metadata.managedFields)


def pod(name, **container):
    made = client.V1Pod(
        metadata=client.V1ObjectMeta(name=name, annotations={"sim.bcs/process": "true"} if "command" in container else {}),
        spec=client.V1PodSpec(containers=[client.V1Container(name="main", image="web:1", **container)]),
    )
    core.create_namespaced_pod("default", made)
    statuses = lambda: core.read_namespaced_pod(name, "default").status.container_statuses or []
    eventually(f"{name} is ready", lambda: any(status.ready for status in statuses()))


def command(*words, **options):
    wanted = {"stdin": False, "stdout": True, "stderr": True, "tty": False, **options}
    return stream(core.connect_get_namespaced_pod_exec, "real", "default", command=list(words), **wanted)


def commands():
    pod("real", command=["sh", "-c", "while read line; do echo heard $line; done; sleep 3600"], stdin=True)
    assert command("sh", "-c", "echo one; echo two") == "one\ntwo\n"
    failed = command("sh", "-c", "echo out; echo err >&2; exit 3", _preload_content=False)
    failed.run_forever(timeout=30)
    assert (failed.read_stdout(), failed.read_stderr(), failed.returncode) == ("out\n", "err\n", 3)
    copies = command("cat", stdin=True, _preload_content=False)
    copies.write_stdin("typed\n")
    assert copies.readline_stdout(timeout=30) == "typed"
    copies.close_channel(0)
    copies.run_forever(timeout=30)
    assert copies.returncode == 0
    attached = stream(
        core.connect_get_namespaced_pod_attach, "real", "default", stdin=True, stdout=True, stderr=True, _preload_content=False
    )
    attached.write_stdin("words\n")
    assert attached.readline_stdout(timeout=30) == "heard words"
    attached.close()
    try:
        stream(core.connect_get_namespaced_pod_exec, "nobody", "default", command=["true"], stdout=True)
        raise AssertionError("nobody is there")
    except ApiException as error:
        assert "404" in error.reason, error


def ports():
    pod("web", ports=[client.V1ContainerPort(container_port=8080)])
    forwarder = portforward(core.connect_get_namespaced_pod_portforward, "web", "default", ports="8080,81")
    connection = forwarder.socket(8080)
    connection.settimeout(30)
    connection.sendall(b"GET /here HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
    answer = b""
    while part := connection.recv(4096):
        answer += part
    assert b'"path":"/here"' in answer, answer
    eventually("an error", lambda: "connection refused" in (forwarder.error(81) or ""))


for step in [typed_objects, pages, informer, watches, dynamic_client, commands, ports]:
    step()
    print(f"{step.__name__}: right", flush=True)
