"""What the stack has beyond the plain story: a sidecar beside an instance, second replicas, a bus of three servers, and who watches."""

import base64
import json
import ssl
import subprocess
import time
import urllib.error
import urllib.request

from compose_stack import ROOT, SERVICES, WORK, Load, check, docker, say, until
from compose_story import well

INSTANCE = "greeter-0"


class Cluster:
    """The API of sim-a, as a user of this machine reaches it."""

    def __init__(self, stack):
        self.url = f"https://127.0.0.1:{stack.ports['BCS_SIM_A_PORT']}"
        file = WORK / "sim-a.yaml"
        file.touch(0o600)
        self.command = ["kubectl", "--kubeconfig", str(file), "--server", self.url]
        self.environment = stack.direct()
        file.write_text(docker("exec", "--user", "10001", stack.id("sim-a"), "cat", "/clusters/sim-a/kubeconfig").stdout)
        shown = json.loads(self.kubectl("config", "view", "--raw", "-o", "json"))
        self.token = shown["users"][0]["user"]["token"]
        authority = WORK / "sim-a.pem"
        authority.write_bytes(base64.b64decode(shown["clusters"][0]["cluster"]["certificate-authority-data"]))
        self.http = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=authority)))

    def kubectl(self, *arguments):
        done = subprocess.run([*self.command, *arguments], cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=180)
        if done.returncode != 0:
            raise ValueError(f"kubectl {' '.join(arguments)}: {done.stderr[-300:]}")
        return done.stdout

    def pod(self):
        """The instance as the API has it; none when there is none."""
        request = urllib.request.Request(f"{self.url}/api/v1/namespaces/demo/pods/{INSTANCE}", headers={"Authorization": f"Bearer {self.token}"})
        try:
            return json.load(self.http.open(request, timeout=5))
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def runs(self, uid):
        """Whether the process of the instance with this uid runs."""
        pod = self.pod()
        return bool(pod) and pod["metadata"]["uid"] == uid and "running" in pod["status"]["containerStatuses"][0]["state"]


def beside(stack):
    say("\n--- a sidecar beside an instance holds its stop")
    cluster = Cluster(stack)
    cluster.kubectl("apply", "-f", "examples/greeter.yaml")
    address = until("etcd has the instance", lambda: stack.in_etcd("greeter"))[0]
    until("HAProxy serves it", lambda: stack.served("greeter", 2)[0] == {INSTANCE})
    uid = cluster.pod()["metadata"]["uid"]
    stopping = subprocess.Popen([*cluster.command, "delete", "pod", "--namespace", "demo", INSTANCE], env=cluster.environment,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    # First whether it runs, then whether it is entered: who runs no more must not be.
    began, left, entered = time.monotonic(), None, True
    while time.monotonic() - began < 60:
        runs, entered = cluster.runs(uid), address in stack.in_etcd("greeter")
        if not entered and left is None:
            left = time.monotonic()
        if not runs:
            break
        time.sleep(0.02)
    ended = time.monotonic()
    check("when its process had ended, etcd had it no more", not runs and not entered, (runs, entered))
    check(f"it was out of etcd for {ended - (left or ended):.1f} s while it still ran: as long as clients may remember it", left is not None and ended - left > 4)
    said = docker("logs", "--tail", "20", stack.id("greeter-sidecar")).stderr
    check("the sidecar let it go", "is out of every registry" in said, said[-300:])
    check("kubectl returns", stopping.wait(timeout=60) == 0, stopping.returncode)
    until("the one that replaces it is in etcd and behind HAProxy",
          lambda: len(stack.in_etcd("greeter")) == 1 and INSTANCE not in stack.served("greeter", 2)[0])
    cluster.kubectl("delete", "replicaset", "--namespace", "demo", "greeter", "--wait=false")
    until("nothing of it is left in etcd", lambda: stack.in_etcd("greeter") == [])


def passes(stack, service, within):
    """The one that leads is killed: another one leads before `within` seconds have passed."""
    leader = until(f"one of two {service} leads", lambda: stack.leading(service))[0]
    docker("kill", leader)
    began = time.monotonic()
    until(f"{service}: its leader was killed, and the other one leads within {within} s",
          lambda: [one for one in stack.leading_alone(service) if one != leader], within)
    say(f"          after {time.monotonic() - began:.1f} s")
    return leader


def replicas(stack):
    say("\n--- two of each service, and the one that leads is killed, under load")
    stack.up(*(word for service in SERVICES for word in ("--scale", f"{service}=2")))
    check("there are two of each", all(len(stack.ids(service)) == 2 for service in SERVICES), {s: len(stack.ids(s)) for s in SERVICES})
    with Load(stack) as load:
        for number, service in enumerate(SERVICES):
            # Sidecars are silent for `takeover_after` before another one believes that they are gone.
            leader = passes(stack, service, 30)
            replicas = 7 if number % 2 == 0 else 6
            stack.cli("scale", "app", "shop-web", "--replicas", str(replicas), "--wait")
            stack.verify("shop-web", replicas, "v2")
            docker("start", leader)
            until(f"the killed {service} is healthy", lambda: stack.health_of(leader) == "running healthy", 90)
    load.judge("leaders killed")
    stack.up(*(word for service in SERVICES for word in ("--scale", f"{service}=1")))
    check("there is one of each", all(len(stack.ids(service)) == 1 for service in SERVICES), {s: len(stack.ids(s)) for s in SERVICES})
    for service in SERVICES:
        until(f"{service}, which stayed, leads", lambda: stack.leading_alone(service))
    stack.verify("shop-web", 6, "v2")


def observed(stack):
    say("\n--- Prometheus and the collector see everything")
    expected = len(SERVICES) + 1

    def targets():
        return [one for one in stack.in_metrics("targets")["activeTargets"] if one["labels"]["job"] == "bcs"]

    until(f"Prometheus reaches all {expected}", lambda: len(targets()) == expected and all(one["health"] == "up" for one in targets()), 60)
    groups = until("its rules have run", lambda: [g for g in [stack.in_metrics("rules")["groups"]] if g and all(
        rule["health"] != "unknown" for group in g for rule in group["rules"])], 90)[0]
    rules = [rule for group in groups for rule in group["rules"]]
    wrong = [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"]
    check(f"none of {len(rules)} rules has an error", not wrong, wrong)
    until("one leads each service, by Prometheus", lambda: {
        one["metric"]["service"]: one["value"][1] for one in stack.in_metrics("query?query=sum(bcs:leads)by(service)")["result"]
    } == {service: "1" for service in SERVICES[:4]})
    stack.cli("scale", "app", "shop-cache", "--replicas", "3", "--wait")
    stack.cli("scale", "app", "shop-cache", "--replicas", "2", "--wait")

    def traces():
        said = docker("logs", "--tail", "4000", stack.id("collector"))
        return {name for name in ("bcs-cluster", "bcs-deploy") if name in said.stdout + said.stderr}

    image = docker("inspect", "--format", "{{.Config.Image}}", stack.id("collector")).stdout.strip()
    until(f"traces of deploy and cluster are in the collector ({image})", lambda: len(traces()) == 2, 60)


def bus_killed(stack):
    say("\n--- each of three servers of the bus is killed, and started again, under load")
    doctor = stack.quietly("doctor", "--replicas", "3", "-o", "json")
    check("each stream and bucket has three copies", '"problem"' not in doctor.stdout, doctor.stdout[-600:])
    with Load(stack) as load:
        for number, server in enumerate(["nats", "nats-2", "nats-3"]):
            docker("kill", stack.id(server))
            until(f"{server} is gone", lambda: stack.health(server).startswith("exited"))
            replicas = 7 if number % 2 == 0 else 6
            began = time.monotonic()
            stack.cli("scale", "app", "shop-web", "--replicas", str(replicas), "--wait")
            stack.verify("shop-web", replicas, "v2")
            say(f"          with two servers, {time.monotonic() - began:.1f} s after the kill")
            docker("start", stack.id(server))
            until(f"{server} is healthy", lambda: stack.health(server) == "running healthy", 90)
            until("its copies keep up", lambda: stack.quietly("doctor", "--replicas", "3", "-q", "-o", "json").returncode == 0, 90)
    load.judge("servers of the bus killed")
    well(stack, "deploy", 6)
