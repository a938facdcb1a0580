"""The story of the README over Docker Compose; see scripts/compose-test."""

import subprocess
import time

from compose_stack import PROJECT, ROOT, SERVICES, Load, check, compose, docker, say, secrets, until

def begins(stack, arguments):
    say("\n--- from nothing")
    say("  images that are missing are built first, which takes minutes")
    began = time.monotonic()
    say("  " + stack.up(*arguments).splitlines()[0])
    again = time.monotonic()
    stack.up()
    check(f"a second compose-up changes nothing ({time.monotonic() - again:.0f} s, the first took {again - began:.0f} s)",
          all("healthy" in stack.health(service) for service in SERVICES), [stack.health(s) for s in SERVICES])
    stack.take_cli()
    say("  " + stack.cli("version").strip())
    files = secrets()
    # That one holds public keys.
    open_to_others = {name: oct(mode) for name, (mode, _) in files.items() if "/users.conf" not in name and mode != 0o600}
    check("secrets are their owners' alone", not open_to_others, open_to_others)
    shown = docker("inspect", *(stack.id(service) for service in SERVICES)).stdout
    keys, passwords = ([text for name, (_, text) in files.items() if name.startswith(part) and name.endswith(end)]
                       for part, end in [("bus/", ".nk"), ("passwords/", "")])
    check(f"none of {len(keys)} keys and {len(passwords)} passwords is in the settings of a container",
          keys and passwords and all([*keys, *passwords]) and not any(seed in shown for seed in [*keys, *passwords]))
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
    shown = compose("run", "--rm", "bcs", "get", "apps").stdout
    check("the command line in a container shows them", all(app in shown for app in ("shop-web", "shop-api", "shop-cache")), shown)
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
    # The engine is not always done with a container when it has said so, and keeps its network then: one says it again.
    until("compose down", lambda: compose("down", "--timeout", "10").returncode == 0)
    say("  " + stack.up().splitlines()[0])
    until("everything is where it was", lambda: stack.ready("shop-web") == before)
    stack.verify("shop-web", len(before), "v2")
    kept = len([e for e in stack.items("history", "app", "shop-web", "--all")])
    check("the history is there", kept > 5, kept)
    stack.cli("delete", "app", "shop-web", "--wait")
    until("nothing of it is left in etcd", lambda: stack.in_etcd("shop-web") == [])
