"""A running engine with every door open, for tests that knock with other people's software. Not those tests."""

import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "clients" / "python"))

PASSWORD = "demo"
# `pitlane hash-password --memory-kib 8 --iterations 1`: the tests are not about the hash.
PASSWORD_HASH = "$argon2id$v=19$m=8,t=1,p=1$WV32HnkeHd51Hyunu9rwgA$/i2OsYvymuUmDzLaHHfKceWR/3MB1UsjH7fq9m8x7oQ"
GROUP = "239.77.3.9"
START_SECONDS = 60
SYMBOLS = ["AAPL", "MSFT"]


def binary(name="pitlane"):
    folder = os.environ.get("PITLANE_TEST_BINARIES", ROOT / "target" / "debug")
    path = pathlib.Path(folder) / name
    if not path.is_file():
        raise AssertionError(f"{path} is not there: build it with `cargo build --workspace --bins`")
    return str(path)


def free_ports(count):
    """Ports that were free for UDP and TCP a moment ago."""
    found, held = [], []
    while len(found) < count:
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        tcp.bind(("127.0.0.1", 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        held += [tcp, udp]
        try:
            udp.bind(tcp.getsockname())
        except OSError:
            continue
        found.append(tcp.getsockname()[1])
    for each in held:
        each.close()
    return found


class Engine:
    """`with Engine() as engine:` starts one; it is gone, with its files, afterwards."""

    def __init__(self, *, durability="memory", window_bytes=1 << 20, gateway="", session="", network="", receivers=None):
        ports = free_ports(8)
        self.order, self.admin, self.tcp, self.drop_copy, self.requests, self.replay, self.glimpse, self.feed = ports
        self.folder = tempfile.TemporaryDirectory(prefix="pitlane-interop-")
        self.path = pathlib.Path(self.folder.name)
        self.receivers = receivers if receivers is not None else [f"{GROUP}:{self.feed}"]
        self.log = self.path / "log"
        self.process = None
        instruments = "".join(f'[[instrument]]\nsymbol = "{s}"\nreference_price = 1500000\n' for s in SYMBOLS)
        (self.path / "pitlane.toml").write_text(f"""
[engine]
idle = "park"
[network]
port = "udp"
base_port = {self.order}
{network}
[session]
max_sessions = 64
{session}
[journal]
durability = "{durability}"
directory = "{self.path / 'journal'}"
segment_bytes = 1048576
snapshot_interval = 0
[admin]
listen = "127.0.0.1:{self.admin}"
token = "t"
[gateway]
listen = "127.0.0.1:{self.tcp}"
drop_copy_listen = "127.0.0.1:{self.drop_copy}"
{gateway}
[feed]
receivers = [{", ".join(f'"{r}"' for r in self.receivers)}]
multicast_interface = "127.0.0.1"
retransmit_listen = "127.0.0.1:{self.requests}"
replay_listen = "127.0.0.1:{self.replay}"
glimpse_listen = "127.0.0.1:{self.glimpse}"
window_bytes = {window_bytes}
{instruments}
[[firm]]
name = "DEMO"
market_maker = ["AAPL"]
primary_market_maker = ["MSFT"]
[[account]]
user = "C00001"
count = 16
firm = "DEMO"
password_hash = "{PASSWORD_HASH}"
[[account]]
user = "DROP01"
firm = "DEMO"
drop_copy = true
password_hash = "{PASSWORD_HASH}"
""")

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
        self.folder.cleanup()

    def start(self):
        command = [binary(), "run", "--config", str(self.path / "pitlane.toml")]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the engine ended at once:\n{self.log.read_text()}")
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/ready", timeout=2).close()
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError(f"not ready in {START_SECONDS} s:\n{self.log.read_text()}")

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def crash(self):
        self.process.kill()
        self.process.wait()

    def feed_command(self, *more):
        """`pitlane feed` of this engine."""
        return [
            binary(), "feed", "--listen", self.receivers[0], "--interface", "127.0.0.1",
            "--requests", f"127.0.0.1:{self.requests}", "--glimpse", f"127.0.0.1:{self.glimpse}",
            "--user", "C00016", "--password", PASSWORD, "--interval", "0", *more,
        ]  # fmt: skip


def seed():
    """Printed, and taken back from PITLANE_SEED."""
    value = int(os.environ.get("PITLANE_SEED", time.time_ns() % 1_000_000))
    print(f"PITLANE_SEED={value}", file=sys.stderr)
    return value


def trade(engine, users=2, orders=400, seed_value=None):
    """A busy run over UDP: orders of every kind that shows on the feed. Returns the number of messages sent."""
    from pitlane import ouch
    from pitlane.session import Session

    rng = random.Random(seed() if seed_value is None else seed_value)
    sessions = [Session(("127.0.0.1", engine.order), f"C{n + 1:05}", PASSWORD, timeout=30) for n in range(users)]
    sent = 0
    try:
        numbers = [0] * users
        live = [[] for _ in range(users)]
        for turn in range(orders):
            who = rng.randrange(users)
            session, mine = sessions[who], live[who]
            choice = rng.random()
            if choice < 0.7 or not mine:
                numbers[who] += 1
                tags = {}
                if rng.random() < 0.1:
                    tags["max_floor"] = 10
                message = ouch.enter_order(
                    numbers[who], rng.choice("BS"), rng.randrange(1, 20) * 10, rng.choice(SYMBOLS),
                    1_500_000 + rng.randrange(-8, 9) * 100, display=rng.choice("YYYYAN") if not tags else "Y", **tags,
                )  # fmt: skip
                mine.append(numbers[who])
            elif choice < 0.85:
                message = ouch.cancel_order(mine.pop(rng.randrange(len(mine))), rng.choice([0, 0, 10]))
            else:
                numbers[who] += 1
                original = mine.pop(rng.randrange(len(mine)))
                message = ouch.replace_order(
                    original, numbers[who], rng.randrange(1, 20) * 10, 1_500_000 + rng.randrange(-8, 9) * 100
                )
                mine.append(numbers[who])
            session.send(message)
            sent += 1
            if turn % 20 == 0:
                for each in sessions:
                    each.idle(0.001)
        for each in sessions:
            each.idle(0.3)
    finally:
        engine.sessions = sessions
    return sent


def close_sessions(engine):
    """Logs out; cancel-on-disconnect then empties the books."""
    for each in getattr(engine, "sessions", []):
        each.close()
    engine.sessions = []
