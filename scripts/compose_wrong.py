"""What cannot be used is said in one line, ends the container, and shows in its health."""

import os
import pathlib
import re
import subprocess

from compose_stack import COMPOSE, HEALTHY, PLAIN, PROJECT, ROOT, SECRETS, SKIPPED, TAG, WORK, check, docker, say, secrets, until


def complaint(*arguments):
    """What a container says that cannot run, and its exit code."""
    done = docker("run", "--rm", "--read-only", "--tmpfs", "/tmp:mode=1777", *arguments, timeout=90)
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("error: ")]
    return done.returncode, said


def image(name):
    return f"bcs/{name}:{TAG}"


def key(user):
    """With the key of a user, and on the bus."""
    return [*reach(), "--volume", f"{SECRETS}/{user}:/s:ro"]


def reach():
    return ["--network", f"{PROJECT}_bus", "--env", "BCS__BUS__URL=nats://nats:4222", "--env", "BCS__BUS__CREDENTIALS=/s/bus.nk"]


def database(stack, user, name):
    """In the network of `deploy`, which reaches bus and databases, as this user in this database."""
    return ["--network", f"container:{stack.id('deploy')}", *reach()[2:], "--volume", f"{SECRETS}/deploy:/s:ro", "--env",
            f"BCS__JOURNAL_URL=postgres://{user}@postgres/{name}", "--env", "BCS__HEALTH_ADDRESS=127.0.0.1:0"]


JOURNAL = ["--env", "BCS__JOURNAL_URL=sqlite:/tmp/journal.db"]
SIMULATOR = ["--entrypoint", "/usr/libexec/bcs/kubesim"]
SETUP = ["--entrypoint", "/usr/libexec/bcs/setup"]


def cases(stack):
    """What is wrong, how a container is run so, its exit code, and words that it has to say."""
    _, password = secrets()["passwords/deploy"]
    sidecar = [*key("sidecar-sim-a"), "--env", "BCS__BUS__INBOX=_INBOX_sidecar-sim-a"]
    platform = ["--volume", f"{SECRETS}/platform:/run/secrets/bcs:ro", *reach()[:2]]
    return [
        ("a wrong variable", ["--env", "BCS__BUS__REPLICAS=many", image("deploy")], 2, "bus.replicas"),
        ("an unknown variable", ["--env", "BCS__BUS__ULR=x", image("cluster")], 2, "bus.ulr"),
        ("a variable is missing", [*SETUP, *platform, image("bcs"), "streams"], 2, "BCS__BUS__URL is missing"),
        ("a cluster without a name", [*SIMULATOR, image("bcs")], 2, "KUBESIM_NAME is missing"),
        ("pods outside of every network", [*SIMULATOR, *reach()[:2], "--env", "KUBESIM_NAME=x", "--env", "KUBESIM_POD_NETWORK=10.99.1.0/24",
                                           image("bcs")], 2, "KUBESIM_POD_NETWORK"),
        ("a key is missing", ["--env", "BCS__BUS__CREDENTIALS=/nowhere", image("metrics")], 1, "/nowhere"),
        ("the file of signers is missing", [*key("network"), *JOURNAL, "--env", "BCS__BUS__ACTORS=/nowhere", image("network")], 1, "bus.actors"),
        ("a sidecar without settings", [*sidecar, image("discovery-sidecar")], 1, "registries"),
        ("a journal that is none", [*key("network"), "--env", "BCS__JOURNAL_URL=mysql://x", image("network")], 1, "journal_url"),
        ("no key", [*reach()[:4], *JOURNAL, image("deploy")], 1, "authorization"),
        ("the key of another service", [*key("network"), *JOURNAL, image("deploy")], 1, "bus.credentials"),
        ("no password for the database", [*database(stack, "deploy", "deploy"), image("deploy")], 1, "password"),
        ("a database of somebody else", [*database(stack, "deploy", "network"), "--env", f"PGPASSWORD={password}", image("deploy")],
         1, "permission denied"),
        ("a port in use", ["--network", f"container:{stack.id('network')}", *reach()[2:], "--volume", f"{SECRETS}/network:/s:ro", *JOURNAL,
                           image("network")], 1, "health_address"),
    ]


def complains(stack):
    say("\n--- what is wrong is said in one line, and ends the container")
    for what, arguments, code, words in cases(stack):
        exit_code, said = complaint(*arguments)
        check(f"{what}: exit {code}, {said[-1][:150] if said else '-'}", exit_code == code and len(said) == 1 and words in said[0], (exit_code, said))
    taken = dict(PLAIN, COMPOSE_PROJECT_NAME=f"{PROJECT}-2", BCS_SECRETS=str(WORK / "others"))
    done = subprocess.run(["scripts/compose-up"], cwd=ROOT, env=taken, capture_output=True, text=True, timeout=120)
    check(f"a port of this machine in use: exit 1, {done.stderr.strip()[-110:]}",
          done.returncode == 1 and "is in use: choose another in BCS_BUS_PORT" in done.stderr and PROJECT + "-2" not in docker("ps").stdout, done.stderr)


def clock(stack):
    say("\n--- a clock that is an hour off")
    found = [path for folder in ("/usr", "/usr/local") for path in pathlib.Path(folder).glob("lib*/**/faketime/libfaketimeMT.so.1")]
    places = [os.environ.get("BCS_LIBFAKETIME", ""), *map(str, found)]
    library = next((place for place in places if place and pathlib.Path(place).exists()), None)
    if library is None:
        SKIPPED.append("a clock that is an hour off: libfaketime is missing")
        say("  NOT TRIED, since libfaketime is missing")
        return
    # Beside an instance: it reads, and nobody waits for it.
    late = docker("run", "--detach", "--name", f"{PROJECT}-late", "--health-interval", "1s", "--health-start-period", "1s", "--health-retries", "2",
                  *key("holder-demo.sim-a"), "--volume", f"{library}:/faketime.so:ro", "--env", "LD_PRELOAD=/faketime.so", "--env", "FAKETIME=-1h",
                  "--env", "FAKETIME_DONT_FAKE_MONOTONIC=1", "--env", "FAKETIME_DISABLE_SHM=1",
                  "--env", "BCS__BUS__INBOX=_INBOX_holder-demo.sim-a", "--env", "BCS__CLUSTER=sim-a",
                  "--env", "BCS__BESIDE__PROJECT=demo", "--env", "BCS__BESIDE__APP=greeter", "--env", "BCS__BESIDE__INSTANCE=greeter-1",
                  image("discovery-sidecar")).stdout.strip()
    try:
        until("it is unhealthy", lambda: stack.health_of(late) == "running unhealthy")
        asked = docker("exec", late, "bcs-discovery-sidecar", "--ready")
        said = asked.stderr.strip().splitlines()
        check(f"--ready says why: exit {asked.returncode}, {said[-1] if said else '-'}",
              asked.returncode == 1 and len(said) == 1 and re.search(r"clock: is 3[56]\d\d s behind that of the bus", said[0]), said)
        check("and so does its log", "the clock is wrong" in docker("logs", late).stderr)
    finally:
        docker("rm", "--force", late)


def forgotten(stack):
    """Secrets that are not there when the stack is started by Compose alone."""
    say("\n--- secrets that were forgotten, and a way that is gone")
    lone = dict(PLAIN, COMPOSE_PROJECT_NAME=f"{PROJECT}-3", BCS_SECRETS=str(WORK / "none"), BCS_NETWORK="10.98", **{
        name: "0" for name in PLAIN if name.startswith("BCS_") and name.endswith("_PORT")})

    def alone(*arguments):
        return subprocess.run([*COMPOSE, *arguments], cwd=ROOT, env=lone, capture_output=True, text=True, timeout=120)

    done = alone("up", "--detach", "nats")
    try:
        if done.returncode != 0:
            check(f"no secrets: Compose names the folder, exit {done.returncode}", str(WORK / "none") in done.stderr, done.stderr[-300:])
        else:
            # A newer Compose makes the folder, and there is nothing in it.
            until("no secrets: the bus names the file", lambda: "users/users.conf: no such file" in alone("logs", "nats").stdout)
    finally:
        alone("down", "--volumes")
    metrics = stack.id("metrics")
    docker("network", "disconnect", f"{PROJECT}_bus", metrics)
    until("a service without its bus is unhealthy", lambda: stack.health("metrics") == "running unhealthy", 90)
    check(f"its health says why: {stack.complaint('metrics')[:120]}", "bus: not connected" in stack.complaint("metrics"), stack.complaint("metrics"))
    docker("network", "connect", f"{PROJECT}_bus", metrics)
    until("it is healthy when the bus is back", lambda: stack.health("metrics") == "running healthy", 90)


def older_and_newer(stack):
    """Journals that another program wrote. What was done to them is put back: nothing else in them was touched."""
    say("\n--- a journal of an older program is brought forward, and one of a newer program refused")

    def sql(text):
        done = docker("exec", stack.id("postgres"), "psql", "-qAt", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "network", "-c", text)
        if done.returncode != 0:
            raise ValueError(done.stderr)
        return done.stdout.strip()

    version = "SELECT max(version) FROM bcs_network.schema_version"
    now = sql(version)
    docker("stop", stack.id("network"))
    # What the last migration made, and that it was.
    sql("DROP TABLE bcs_network.terms; DELETE FROM bcs_network.schema_version WHERE version = " + now)
    docker("start", stack.id("network"))
    until("an older journal: network is healthy", lambda: stack.health("network") == "running healthy", 60)
    check("and the journal has the version of the program", sql(version) == now, (sql(version), now))
    docker("stop", stack.id("network"))
    sql("INSERT INTO bcs_network.schema_version (version) VALUES (99)")
    docker("start", stack.id("network"))
    until("a newer one is refused with what to do", lambda: "run the newer program" in docker("logs", "--tail", "20", stack.id("network")).stderr)
    until("the container ends, again and again, and is not healthy", lambda: stack.health("network") != "running healthy" and int(
        docker("inspect", "--format", "{{.RestartCount}}", stack.id("network")).stdout) > 1)
    docker("stop", stack.id("network"))
    sql("DELETE FROM bcs_network.schema_version WHERE version = 99")
    docker("start", stack.id("network"))
    until("network is healthy", lambda: stack.health("network") == "running healthy", 60)
