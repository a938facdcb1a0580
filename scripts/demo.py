"""The story of the README, unattended; see scripts/demo."""

import asyncio
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

import nats

import outside
from outside import HTTP

BCS = os.path.abspath(sys.argv[1])
ROOT = pathlib.Path(__file__).resolve().parent.parent


def say(text):
    print(text, flush=True)


def check(claim, holds, seen):
    if not holds:
        raise SystemExit(f"NOT SO: {claim}\n  seen: {seen}")
    say(f"  ok    {claim}")


def until(claim, look, seconds=30):
    """Waits until look() gives something; the last exception or answer explains a failure."""
    end, last = time.monotonic() + seconds, None
    while time.monotonic() < end:
        try:
            last = look()
            if last:
                return last
        except (OSError, ValueError) as error:
            last = error
        time.sleep(0.05)
    raise SystemExit(f"NOT SO: {claim}\n  seen: {last}")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Stage:
    """etcd and `bcs up` in a folder of their own."""

    def __init__(self, folder):
        self.folder = folder
        self.processes = []
        self.etcd_url = f"http://127.0.0.1:{free_port()}"
        self.health = f"127.0.0.1:{free_port()}"
        self.env = dict(os.environ, BCS_CONFIG=str(folder / "config.toml"))

    def spawn(self, name, *command):
        log = open(self.folder / f"{name}.log", "ab")
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, env=self.env)
        self.processes.append(process)
        return process

    def start_etcd(self):
        peer = f"http://127.0.0.1:{free_port()}"
        self.spawn(
            "etcd", "etcd", "--data-dir", str(self.folder / "etcd"),
            "--listen-client-urls", self.etcd_url, "--advertise-client-urls", self.etcd_url,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
        )
        until("etcd answers", lambda: HTTP.open(f"{self.etcd_url}/version", timeout=2).read())

    def start_bcs(self):
        self.bcs = self.spawn(
            "bcs", BCS, "up", "--data", str(self.folder / "data"), "--nats-port", "0",
            "--health", self.health, "--etcd", self.etcd_url,
        )
        ready = lambda: self.bcs.poll() is not None or HTTP.open(f"http://{self.health}/readyz", timeout=2).read()
        until("bcs up is ready", ready)
        if self.bcs.poll() is not None:
            raise SystemExit("bcs up ended:\n" + (self.folder / "bcs.log").read_text())
        self.registry = self.folder / "data" / "registry"

    def stop_bcs(self):
        self.bcs.send_signal(signal.SIGINT)
        return self.bcs.wait(timeout=30)

    def close(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    process.kill()

    def cli(self, *arguments, code=0):
        say(f"$ bcs {' '.join(arguments)}")
        done = subprocess.run([BCS, *arguments], env=self.env, cwd=ROOT, capture_output=True, text=True, timeout=180)
        for line in (done.stdout + done.stderr).splitlines()[:14]:
            say(f"  | {line}")
        check(f"exit code {code}", done.returncode == code, (done.returncode, done.stderr))
        return done.stdout

    # --- what outside clients see

    def in_etcd(self, app):
        return outside.in_etcd(self.etcd_url, app)

    def in_file(self, app):
        """Addresses in the hosts files of the file registry."""
        found = []
        for path in self.registry.glob("*.hosts"):
            for line in path.read_text().splitlines():
                words = line.split()
                if len(words) == 2 and words[1] == f"{app}.demo.bcs.local":
                    found.append(f"{words[0]}:8080")
        return sorted(found)

    def ready(self, app):
        """Addresses of the ready instances, as the platform itself says."""
        out = subprocess.run(
            [BCS, "get", "endpoints", "-o", "json"], env=self.env, capture_output=True, text=True, timeout=30, check=True
        ).stdout
        rows = json.loads(out)
        rows = rows["items"] if isinstance(rows, dict) else rows
        return sorted(
            f"{row['addresses'][0]}:{row['ports'][0]['port']}"
            for row in rows if row["app"] == app and row["phase"] == "ready"
        )

    def verify(self, app, count, version):
        ready = self.ready(app)
        check(f"{app}: {count} instances are ready", len(ready) == count, ready)
        check(f"{app}: etcd holds exactly their addresses", self.in_etcd(app) == ready, (self.in_etcd(app), ready))
        check(f"{app}: so do the hosts files", self.in_file(app) == ready, (self.in_file(app), ready))
        versions = [json.load(HTTP.open(f"http://{a}/", timeout=5))["version"] for a in ready]
        check(f"{app}: each answers HTTP on its own address as {version}", versions == [version] * count, versions)


async def publish(url, subject, payload):
    """A command from any program with any NATS client: its outcome comes to an inbox."""
    bus = await nats.connect(url)
    inbox = bus.new_inbox()
    waiting = await bus.subscribe(inbox)
    headers = {"bcs-reply-to": inbox, "ce-datacontenttype": "application/json"}
    await bus.jetstream().publish(subject, json.dumps(payload).encode(), headers=headers)
    outcome = json.loads((await waiting.next_msg(timeout=10)).data)
    await bus.close()
    return outcome


def story(stage):
    stage.start_etcd()
    stage.start_bcs()
    say(f"etcd {stage.etcd_url}, bcs up in {stage.folder}\n")

    stage.cli("apply", "-f", "examples/shop.yaml", "--wait")
    for app, count in [("shop-web", 6), ("shop-api", 4), ("shop-cache", 2)]:
        stage.verify(app, count, "v1")
    stage.cli("get", "apps")
    stage.cli("get", "registrations")
    stage.cli("describe", "app", "shop-web")

    stage.cli("scale", "app", "shop-web", "--replicas", "8", "--wait")
    stage.verify("shop-web", 8, "v1")

    url = json.loads(stage.cli("context", "show", "-o", "json"))["url"]
    say("$ # a Python program publishes bcs.cmd.deploy.local.demo.app.shop-web.scale")
    outcome = asyncio.run(publish(url, "bcs.cmd.deploy.local.demo.app.shop-web.scale", {"replicas": 3}))
    check("its outcome is `accepted`", outcome["outcome"] == "accepted", outcome)
    until("three instances are left", lambda: len(stage.in_etcd("shop-web")) == 3 and len(stage.ready("shop-web")) == 3)
    stage.verify("shop-web", 3, "v1")
    refused = asyncio.run(publish(url, "bcs.cmd.deploy.local.demo.app.shop-web.scale", {"replicas": -1}))
    check("a wrong one names the field", refused["fields"][0]["field"] == "replicas", refused)

    stage.cli("apply", "-f", "examples/shop.yaml", "--set", "image.tag=v2", "--wait")
    for app, count in [("shop-web", 6), ("shop-api", 4), ("shop-cache", 2)]:
        stage.verify(app, count, "v2")

    before = stage.ready("shop-web")
    check("Ctrl-C ends it cleanly", stage.stop_bcs() == 0, stage.bcs.returncode)
    stage.start_bcs()
    until("started again, everything is as it was", lambda: stage.ready("shop-web") == before)
    stage.verify("shop-web", 6, "v2")

    stage.cli("delete", "app", "shop-web", "--wait")
    check("nothing of it is left in etcd", stage.in_etcd("shop-web") == [], stage.in_etcd("shop-web"))
    check("nor in the hosts files", stage.in_file("shop-web") == [], stage.in_file("shop-web"))
    stage.cli("get", "app", "shop-web", code=1)
    stage.cli("events", "--since", "10m")
    stage.cli("status")


def main():
    with tempfile.TemporaryDirectory(prefix="bcs-demo-", ignore_cleanup_errors=True) as folder:
        stage = Stage(pathlib.Path(folder))
        try:
            story(stage)
        except BaseException:
            for log in ("bcs.log", "etcd.log"):
                path = stage.folder / log
                if path.exists():
                    say(f"--- end of {log}\n" + "\n".join(path.read_text().splitlines()[-15:]))
            raise
        finally:
            stage.close()
    say("\nEverything was as claimed.")


main()
