"""The stack of scripts/compose-test: how it is started, asked and put under load, and how a claim is checked."""

import io
import itertools
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tarfile
import threading
import time
import urllib.request

import outside
from outside import HTTP

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORK = pathlib.Path(sys.argv[1])
PROJECT = os.environ["COMPOSE_PROJECT_NAME"]
TAG = os.environ["BCS_TAG"]
SECRETS = pathlib.Path(os.environ["BCS_SECRETS"])
# The older Compose is written in Python, and must not meet the packages of our tools.
PLAIN = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
COMPOSE = ["docker", "compose"] if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0 else ["docker-compose"]
SERVICES = ["cluster", "deploy", "network", "metrics", "sidecar-sim-a", "sidecar-sim-b"]
HEALTHY = [*SERVICES, "greeter-sidecar", "nats", "postgres", "sim-a", "sim-b", "etcd", "haproxy"]

COUNTS = {"passed": 0, "failed": 0}
# What could not be tried here, and why.
SKIPPED = []


class Broken(Exception):
    """The story cannot go on."""


def say(text):
    print(text, flush=True)


def check(claim, holds, seen=None):
    COUNTS["passed" if holds else "failed"] += 1
    if holds:
        say(f"  ok      {claim}")
    else:
        say(f"  NOT SO  {claim}\n          seen: {seen}")
    return holds


def until(claim, look, seconds=60):
    """Waits until look() gives something; counts as a check, and the story ends where it does not."""
    end, last = time.monotonic() + seconds, None
    while time.monotonic() < end:
        try:
            last = look()
            if last:
                check(claim, True)
                return last
        except (OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
            last = error
        time.sleep(0.1)
    check(claim, False, last)
    raise Broken(claim)


def docker(*arguments, timeout=120, **kwargs):
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=timeout, **kwargs)


def secrets():
    """The files of secrets, each with its mode and text. Read as root of a container: to many of their owners we are a stranger."""
    done = subprocess.run(["docker", "run", "--rm", "--network", "none", "--user", "0:0", "--volume", f"{SECRETS}:/s:ro",
                           "--entrypoint", "tar", f"bcs/bcs:{TAG}", "-C", "/s", "-c", "."], capture_output=True, timeout=120, check=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as files:
        return {one.name.removeprefix("./"): (one.mode & 0o777, files.extractfile(one).read().decode().strip())
                for one in files if one.isfile()}


def compose(*arguments, timeout=300):
    environment = dict(PLAIN, COMPOSE_PROFILES="ha,observability")
    return subprocess.run([*COMPOSE, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout)


def metrics(container):
    """/metrics of what runs in a container; the images have no client of HTTP but a shell."""
    ask = "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3"
    return docker("exec", container, "bash", "-c", ask).stdout


def free_ports(names):
    sockets = [socket.socket() for _ in names]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = {name: str(one.getsockname()[1]) for name, one in zip(names, sockets)}
    for one in sockets:
        one.close()
    return ports


class Stack:
    def __init__(self, profiles=()):
        self.profiles = [f"--{name}" for name in profiles]
        self.ports = free_ports(["BCS_BUS_PORT", "BCS_LB_PORT", "BCS_ETCD_PORT", "BCS_SIM_A_PORT", "BCS_SIM_B_PORT",
                                 "BCS_PROMETHEUS_PORT", "BCS_BUS_2_PORT", "BCS_BUS_3_PORT"])
        # A network that no other run of this has, unless it began in the same moment.
        self.network = f"10.{100 + os.getpid() % 100}"
        for name, value in {**self.ports, "BCS_NETWORK": self.network}.items():
            os.environ[name] = PLAIN[name] = value
        self.bcs = str(WORK / "bcs")
        self.env = dict(PLAIN, BCS_CONFIG=str(WORK / "cli.toml"), USER="compose-test")

    def up(self, *arguments):
        done = subprocess.run(["scripts/compose-up", *self.profiles, *arguments], cwd=ROOT, env=PLAIN, capture_output=True, text=True, timeout=3600)
        if done.returncode != 0:
            say(done.stdout + done.stderr)
            raise Broken("scripts/compose-up")
        return done.stdout

    def ids(self, service):
        return docker("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}",
                      "--filter", f"label=com.docker.compose.service={service}").stdout.split()

    def id(self, service):
        return self.ids(service)[0]

    def health(self, service):
        return self.health_of(self.id(service))

    def health_of(self, container):
        return docker("inspect", "--format", "{{.State.Status}} {{.State.Health.Status}}", container).stdout.strip()

    def complaint(self, service):
        """What the last health check of a service said."""
        checks = json.loads(docker("inspect", "--format", "{{json .State.Health.Log}}", self.id(service)).stdout)
        return checks[-1]["Output"].strip()

    def leads(self, service, container):
        """Whether a container leads: for each thing that can be led, which are the registries of a sidecar."""
        kind = "sidecar" if service.startswith("sidecar-") else service
        return [value == "1" for value in re.findall(rf"^bcs_{kind}_leads(?:{{.*}})? (\d)(?:\.0)?$", metrics(container), re.M)]

    def leading(self, service):
        """Those containers of a service that lead something."""
        return [one for one in self.ids(service) if any(self.leads(service, one))]

    def leading_alone(self, service):
        """The container that leads everything, if there is one."""
        alone = [one for one in self.ids(service) if all(self.leads(service, one) or [False])]
        return alone if self.leading(service) == alone else []

    def in_metrics(self, path):
        """What Prometheus answers."""
        answer = json.load(HTTP.open(f"http://127.0.0.1:{self.ports['BCS_PROMETHEUS_PORT']}/api/v1/{path}", timeout=10))
        return answer["data"]

    def take_cli(self):
        made = docker("create", f"bcs/bcs:{TAG}").stdout.strip()
        docker("cp", f"{made}:/usr/bin/bcs", self.bcs)
        docker("rm", made)
        ports = ["BCS_BUS_PORT", *(["BCS_BUS_2_PORT", "BCS_BUS_3_PORT"] if "--ha" in self.profiles else [])]
        self.cli("context", "add", "compose", "--url", ",".join(f"nats://127.0.0.1:{self.ports[port]}" for port in ports),
                 "--credentials", str(SECRETS / "people/operator.nk"), "--inbox", "_INBOX.operator", "--default-project", "demo")

    def quietly(self, *arguments, timeout=180):
        return subprocess.run([self.bcs, *arguments], env=self.env, cwd=ROOT, capture_output=True, text=True, timeout=timeout)

    def cli(self, *arguments, code=0):
        try:
            done = self.quietly(*arguments)
        except subprocess.TimeoutExpired as late:
            check(f"bcs {' '.join(arguments[:5])}", False, late)
            raise Broken("the command line") from late
        if not check(f"bcs {' '.join(arguments[:5])}: exit code {code}", done.returncode == code, (done.returncode, done.stderr[-400:])):
            raise Broken("the command line")
        return done.stdout

    def direct(self):
        """An environment by which loopback is reached without a proxy."""
        return {name: value for name, value in self.env.items() if name.lower() not in ("https_proxy", "http_proxy")}

    def items(self, *arguments):
        out = self.quietly(*arguments, "-o", "json", timeout=60)
        rows = json.loads(out.stdout)
        return rows["items"] if isinstance(rows, dict) else rows

    def endpoints(self, app):
        return sorted(
            (row["cluster"], f"{row['addresses'][0]}:{row['ports'][0]['port']}")
            for row in self.items("get", "endpoints") if row["app"] == app and row["phase"] == "ready"
        )

    def ready(self, app):
        return sorted(address for _, address in self.endpoints(app))

    def in_etcd(self, app):
        return outside.in_etcd(f"http://127.0.0.1:{self.ports['BCS_ETCD_PORT']}", app)

    def served(self, app, requests=24):
        """Who answers behind HAProxy: pods and versions."""
        answers = [self.ask(app) for _ in range(requests)]
        return {a["pod"] for a in answers}, {a["version"] for a in answers}

    def ask(self, app):
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports['BCS_LB_PORT']}/", headers={"Host": f"{app}.demo"})
        return json.load(HTTP.open(request, timeout=10))

    def verify(self, app, count, version):
        def right():
            ready = self.ready(app)
            pods, versions = self.served(app, count * 4)
            return (len(ready) == count and self.in_etcd(app) == ready and len(pods) == count and versions == {version}) or None

        until(f"{app}: {count} are ready, etcd has exactly their addresses, and HAProxy serves all of them as {version}", right)


class Load:
    """Requests through HAProxy to shop-web, and commands about shop-cache, one after the other, until it is stopped."""

    def __init__(self, stack, commands=True):
        self.stack, self.stopping = stack, threading.Event()
        # From here on each command changes something, also after some of which nobody knows whether they were decided.
        self.wishes = itertools.cycle([3, 4, 5, 6, 2])
        if commands:
            stack.cli("scale", "app", "shop-cache", "--replicas", "2")
        self.requests, self.lost, self.accepted, self.unknown, self.refused = 0, [], [], 0, []
        self.threads = [threading.Thread(target=look) for look in ([self.browse, self.command] if commands else [self.browse])]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def browse(self):
        while not self.stopping.is_set():
            try:
                self.requests += 1
                self.stack.ask("shop-web")
            except (OSError, ValueError) as error:
                self.lost.append(f"{time.strftime('%T')} {error}")
            self.stopping.wait(0.02)

    def command(self):
        while not self.stopping.is_set():
            try:
                done = self.stack.quietly("scale", "app", "shop-cache", "--replicas", str(next(self.wishes)), "-o", "json", timeout=90)
            except subprocess.TimeoutExpired:
                self.unknown += 1
                continue
            if done.returncode == 0:
                self.accepted.append(json.loads(done.stdout)["command_id"])
            elif done.returncode == 3:
                self.refused.append(done.stderr)
            else:
                # It may have been decided, or not: the bus or the service went away meanwhile.
                self.unknown += 1
            self.stopping.wait(0.2)

    def judge(self, what):
        check(f"{what}: none of {self.requests} requests through HAProxy was lost", not self.lost, self.lost[:5])
        check(f"{what}: no command was refused", not self.refused, self.refused[:2])
        decided = self.decided()
        missing = [one for one in self.accepted if one not in decided]
        check(f"{what}: each of {len(self.accepted)} accepted commands is in the history once ({self.unknown} got no answer)",
              not missing and all(decided[one] == 1 for one in self.accepted), missing[:3])

    def decided(self):
        count = {}
        for event in self.stack.items("history", "app", "shop-cache", "--all"):
            if event["type"] == "bcs.deploy.app.scaled.v1":
                count[event["command_id"]] = count.get(event["command_id"], 0) + 1
        return count
