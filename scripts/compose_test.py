"""The story of the README over Docker Compose; see scripts/compose-test."""

import base64
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORK = pathlib.Path(sys.argv[1])
PROJECT = os.environ["COMPOSE_PROJECT_NAME"]
TAG = os.environ["BCS_TAG"]
SECRETS = pathlib.Path(os.environ["BCS_SECRETS"])
# Nothing between us and loopback.
HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))
# The older Compose is written in Python, and must not meet the packages of our tools.
PLAIN = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
COMPOSE = ["docker", "compose"] if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0 else ["docker-compose"]
SERVICES = ["cluster", "deploy", "network", "metrics", "sidecar-sim-a", "sidecar-sim-b"]

passed, failed = 0, 0


class Broken(Exception):
    """The story cannot go on."""


def say(text):
    print(text, flush=True)


def check(claim, holds, seen=None):
    global passed, failed
    if holds:
        passed += 1
        say(f"  ok      {claim}")
    else:
        failed += 1
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


def compose(*arguments, timeout=300):
    return subprocess.run([*COMPOSE, *arguments], cwd=ROOT, env=PLAIN, capture_output=True, text=True, timeout=timeout)


def free_ports(names):
    sockets = [socket.socket() for _ in names]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = {name: str(one.getsockname()[1]) for name, one in zip(names, sockets)}
    for one in sockets:
        one.close()
    return ports


class Stack:
    def __init__(self):
        self.ports = free_ports(["BCS_BUS_PORT", "BCS_LB_PORT", "BCS_ETCD_PORT", "BCS_SIM_A_PORT", "BCS_SIM_B_PORT"])
        # A network that no other run of this has, unless it began in the same moment.
        self.network = f"10.{100 + os.getpid() % 100}"
        for name, value in {**self.ports, "BCS_NETWORK": self.network}.items():
            os.environ[name] = PLAIN[name] = value
        self.bcs = str(WORK / "bcs")
        self.env = dict(PLAIN, BCS_CONFIG=str(WORK / "cli.toml"), USER="compose-test")

    def up(self, *arguments):
        done = subprocess.run(["scripts/compose-up", *arguments], cwd=ROOT, env=PLAIN, capture_output=True, text=True, timeout=3600)
        if done.returncode != 0:
            say(done.stdout + done.stderr)
            raise Broken("scripts/compose-up")
        return done.stdout

    def id(self, service):
        found = docker("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}",
                       "--filter", f"label=com.docker.compose.service={service}").stdout.split()
        return found[0]

    def health(self, service):
        return docker("inspect", "--format", "{{.State.Status}} {{.State.Health.Status}}", self.id(service)).stdout.strip()

    def take_cli(self):
        made = docker("create", f"bcs/bcs:{TAG}").stdout.strip()
        docker("cp", f"{made}:/usr/bin/bcs", self.bcs)
        docker("rm", made)
        self.cli("context", "add", "compose", "--url", f"nats://127.0.0.1:{self.ports['BCS_BUS_PORT']}",
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
        """Addresses under the name of an app, asked for at etcd's own API."""
        prefix = f"/skydns/local/bcs/demo/{app}/".encode()
        end = prefix[:-1] + bytes([prefix[-1] + 1])
        body = json.dumps({"key": base64.b64encode(prefix).decode(), "range_end": base64.b64encode(end).decode()})
        answer = json.load(HTTP.open(f"http://127.0.0.1:{self.ports['BCS_ETCD_PORT']}/v3/kv/range", body.encode(), timeout=5))
        values = [json.loads(base64.b64decode(kv["value"])) for kv in answer.get("kvs", [])]
        return sorted(f"{v['host']}:{v['port']}" for v in values)

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
        replicas = 2
        while not self.stopping.is_set():
            replicas = 5 - replicas
            try:
                done = self.stack.quietly("scale", "app", "shop-cache", "--replicas", str(replicas), "-o", "json", timeout=90)
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


# --- the story

def begins(stack, arguments):
    say("\n--- from nothing")
    began = time.monotonic()
    say("  " + stack.up(*arguments).splitlines()[0])
    again = time.monotonic()
    stack.up()
    check(f"a second compose-up changes nothing ({time.monotonic() - again:.0f} s, the first took {again - began:.0f} s)",
          all("healthy" in stack.health(service) for service in SERVICES), [stack.health(s) for s in SERVICES])
    stack.take_cli()
    say("  " + stack.cli("version").strip())
    for place in SECRETS.rglob("*"):
        mode = place.stat().st_mode & 0o777
        if place.is_file() and not place.name.startswith("users.conf") and mode != 0o600:
            check(f"{place} is its owner's alone", False, oct(mode))
    check("secrets are their owners' alone", True)
    shown = docker("inspect", *(stack.id(service) for service in SERVICES)).stdout
    seeds = [path.read_text().strip() for path in [*SECRETS.glob("bus/*.nk"), *SECRETS.glob("passwords/*")]]
    check("no secret is in the settings of a container", not any(seed in shown for seed in seeds))
    users = {docker("exec", stack.id(s), "sh", "-c", "id -u; touch /x 2>&1 | tail -c 22").stdout.strip() for s in SERVICES}
    check("services are nobody in particular, on file systems that they cannot write", users == {"10001\nRead-only file system"}, users)
    published = docker("ps", "--filter", f"label=com.docker.compose.project={PROJECT}", "--format", "{{.Ports}}").stdout
    check("ports are those of loopback alone", "0.0.0.0:" not in published.replace("0.0.0.0:0", "") and "127.0.0.1:" in published, published)


def runs(stack):
    say("\n--- applications in both clusters")
    until("both clusters are healthy", lambda: [c["health"] for c in stack.items("get", "clusters")] == ["healthy"] * 2)
    stack.cli("apply", "-f", "examples/shop.yaml", "--wait")
    for app, count in [("shop-web", 6), ("shop-api", 4), ("shop-cache", 2)]:
        stack.verify(app, count, "v1")
    places = stack.endpoints("shop-web")
    check("shop-web is in both clusters, at addresses of the containers' network",
          {c for c, _ in places} == {"sim-a", "sim-b"} and all(a.startswith(stack.network + ".") for _, a in places), places)
    direct = docker("exec", stack.id("haproxy"), "bash", "-c",
                    f"exec 3<>/dev/tcp/{places[0][1].replace(':', '/')} && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && head -n 1 <&3").stdout
    check("another container reaches a pod at its address", "200" in direct, direct)


def rolls(stack):
    say("\n--- a rolling update under load")
    with Load(stack, commands=False) as load:
        stack.cli("apply", "-f", "examples/shop.yaml", "--set", "image.tag=v2", "--wait")
        stack.verify("shop-web", 6, "v2")
    check(f"none of {load.requests} requests through HAProxy was lost", not load.lost, load.lost[:5])


def well(stack, service, replicas):
    """After something happened: it is healthy, and a new wish comes true everywhere."""
    until(f"{service} is healthy", lambda: stack.health(service) == "running healthy", 90)
    stack.cli("scale", "app", "shop-web", "--replicas", str(replicas), "--wait")
    stack.verify("shop-web", replicas, "v2")


def killed(stack):
    say("\n--- each service is killed, and started again, under load")
    with Load(stack) as load:
        for number, service in enumerate([*SERVICES, "postgres", "nats"]):
            docker("kill", stack.id(service))
            until(f"{service} is gone", lambda: stack.health(service).startswith("exited"))
            docker("start", stack.id(service))
            well(stack, service, 7 if number % 2 == 0 else 6)
    load.judge("services, PostgreSQL and NATS killed")


def registries(stack):
    say("\n--- registries and clusters are killed, and started again")
    before = stack.ready("shop-web")
    for service in ["etcd", "haproxy", "sim-a"]:
        docker("kill", stack.id(service))
        until(f"{service} is gone", lambda: stack.health(service).startswith("exited"))
        docker("start", stack.id(service))
        until(f"{service} is healthy", lambda: stack.health(service) == "running healthy", 90)
        stack.verify("shop-web", len(before), "v2")
    check("every instance has the address that it had", stack.ready("shop-web") == before, (before, stack.ready("shop-web")))


def cut(stack):
    say("\n--- deploy is cut off from the bus, and found again")
    bus, deploy = f"{PROJECT}_bus", stack.id("deploy")
    with Load(stack) as load:
        docker("network", "disconnect", bus, deploy)
        late = subprocess.Popen([stack.bcs, "scale", "app", "shop-web", "--replicas", "8"], env=stack.env, cwd=ROOT,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            early = late.wait(timeout=5)
        except subprocess.TimeoutExpired:
            early = None
        check("a command waits meanwhile", early is None, early)
        docker("network", "connect", bus, deploy)
        until("it is decided when deploy is back", lambda: late.poll() == 0 or len(stack.ready("shop-web")) == 8, 150)
        stack.verify("shop-web", 8, "v2")
        well(stack, "deploy", 6)
    load.judge("deploy cut off")


def again(stack):
    say("\n--- down and up")
    before = stack.ready("shop-web")
    done = compose("down", "--timeout", "10")
    check("compose down", done.returncode == 0, done.stderr[-300:])
    say("  " + stack.up().splitlines()[0])
    until("everything is where it was", lambda: stack.ready("shop-web") == before)
    stack.verify("shop-web", len(before), "v2")
    kept = len([e for e in stack.items("history", "app", "shop-web", "--all")])
    check("the history is there", kept > 5, kept)
    stack.cli("delete", "app", "shop-web", "--wait")
    until("nothing of it is left in etcd", lambda: stack.in_etcd("shop-web") == [])


def complaint(*arguments):
    """What a container says last that cannot run, and its exit code."""
    done = docker("run", "--rm", "--read-only", "--tmpfs", "/tmp:mode=1777", *arguments, timeout=90)
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("error: ")]
    return done.returncode, said


def complains(stack):
    say("\n--- what is wrong is said in one line, and ends the container")
    secrets, bus = str(SECRETS), f"{PROJECT}_bus"
    image = lambda name: f"bcs/{name}:{TAG}"
    reach = ["--network", bus, "--env", "BCS__BUS__URL=nats://nats:4222", "--env", "BCS__BUS__CREDENTIALS=/s/bus.nk"]
    journal = ["--env", "BCS__JOURNAL_URL=sqlite:/tmp/journal.db"]
    cases = [
        ("a wrong variable", ["--env", "BCS__BUS__REPLICAS=many", image("deploy")], 2, "bus.replicas"),
        ("an unknown variable", ["--env", "BCS__BUS__ULR=x", image("cluster")], 2, "bus.ulr"),
        ("a missing key", ["--env", "BCS__BUS__CREDENTIALS=/nowhere", image("metrics")], 1, "/nowhere"),
        ("no settings of a sidecar", [*reach, "--volume", f"{secrets}/sidecar-sim-a:/s:ro", "--env", "BCS__BUS__INBOX=_INBOX_sidecar-sim-a",
                                      image("discovery-sidecar")], 1, "registries"),
        ("a journal that is none", [*reach, "--volume", f"{secrets}/network:/s:ro", "--env", "BCS__JOURNAL_URL=mysql://x", image("network")],
         1, "journal_url"),
        ("a port in use", ["--network", f"container:{stack.id('network')}", *reach[2:], "--volume", f"{secrets}/network:/s:ro", *journal,
                           image("network")], 1, "health_address"),
        ("the key of another service", [*reach, "--volume", f"{secrets}/network:/s:ro", *journal, image("deploy")], 1, "bus.credentials"),
        ("no key", [*reach[:4], *journal, image("deploy")], 1, "authorization"),
        ("no password for the database", ["--network", f"container:{stack.id('deploy')}", *reach[2:], "--volume", f"{secrets}/deploy:/s:ro",
                                         "--env", "BCS__JOURNAL_URL=postgres://deploy@postgres/deploy",
                                         "--env", "BCS__HEALTH_ADDRESS=127.0.0.1:0", image("deploy")], 1, "password"),
        ("a cluster without a name", ["--entrypoint", "/usr/libexec/bcs/kubesim", image("bcs")], 2, "KUBESIM_NAME"),
        ("pods outside of every network", ["--entrypoint", "/usr/libexec/bcs/kubesim", "--network", bus, "--env", "KUBESIM_NAME=x",
                                           "--env", "KUBESIM_POD_NETWORK=10.99.1.0/24", image("bcs")], 2, "KUBESIM_POD_NETWORK"),
    ]
    for what, arguments, code, words in cases:
        exit_code, said = complaint(*arguments)
        check(f"{what}: exit {code}, {said[-1][:150] if said else '-'}", exit_code == code and len(said) == 1 and words in said[0], (exit_code, said))
    newer(stack, image)


def newer(stack, image):
    """A journal that a newer program wrote. It is put back: nothing else in it was touched."""
    sql = lambda text: docker("exec", stack.id("postgres"), "psql", "-qAt", "-U", "postgres", "-d", "network", "-c", text)
    docker("stop", stack.id("network"))
    sql("INSERT INTO bcs_network.schema_version (version) VALUES (99)")
    docker("start", stack.id("network"))
    words = lambda: "run the newer program" in docker("logs", "--tail", "20", stack.id("network")).stderr
    until("a journal of a newer program is refused with what to do", words)
    docker("stop", stack.id("network"))
    sql("DELETE FROM bcs_network.schema_version WHERE version = 99")
    docker("start", stack.id("network"))
    until("network is healthy", lambda: stack.health("network") == "running healthy", 60)


def main():
    stack = Stack()
    try:
        begins(stack, sys.argv[2:])
        for chapter in (runs, rolls, killed, registries, cut, complains, again):
            chapter(stack)
    except (Broken, OSError, ValueError, LookupError, subprocess.SubprocessError) as broken:
        if not isinstance(broken, Broken):
            check("the story can be told", False, repr(broken))
        say(f"\nthe story ends here: {broken}")
        for service in [*SERVICES, "nats", "postgres", "sim-a", "sim-b", "haproxy", "etcd"]:
            said = compose("logs", "--no-color", "--tail", "8", service)
            say(f"--- {service}\n{said.stdout[-1500:]}")
    finally:
        shutil.rmtree(WORK / "bcs", ignore_errors=True)
    say(f"\n{passed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
