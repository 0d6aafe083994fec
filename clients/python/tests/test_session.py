"""The session against a small stand-in for the engine: in order, once, through loss, duplication and reordering."""

import random
import socket
import struct
import threading
import time
import unittest

from pitlane import LoginRejected, Session, SessionEnded, moldudp64

TOKEN = b"0123456789"[1:]


class StandIn(threading.Thread):
    """Answers each upstream message with its bytes reversed. Loses and swaps datagrams as `faults` says."""

    def __init__(self, seed=None, faults=0.0, reject=None, cookie=b""):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(0.05)
        self.address = self.socket.getsockname()
        self.random, self.faults, self.reject = random.Random(seed), faults, reject
        self.cookie, self.logouts = cookie, []
        self.upstream, self.downstream = [], []
        self.stopping = threading.Event()
        self.acknowledged = 1
        self.held = None
        self.peer = None

    def run(self):
        while not self.stopping.is_set():
            try:
                datagram, self.peer = self.socket.recvfrom(65535)
            except TimeoutError:
                if self.peer and self.acknowledged <= len(self.downstream):
                    tail = self.downstream[self.acknowledged - 1 :]
                    self.send(moldudp64.packet(b"D" + TOKEN, self.acknowledged, tail))
                if self.held:
                    self.socket.sendto(self.held, self.peer)
                    self.held = None
                continue
            if self.random.random() >= self.faults:
                self.handle(datagram)

    def send(self, datagram):
        if self.random.random() < self.faults:
            return
        if self.held:
            self.socket.sendto(datagram, self.peer)
            self.socket.sendto(self.held, self.peer)
            self.held = None
        elif self.random.random() < self.faults:
            self.held = datagram
        else:
            self.socket.sendto(datagram, self.peer)
            if self.random.random() < self.faults:
                self.socket.sendto(datagram, self.peer)

    def handle(self, datagram):
        name, sequence, count, messages = moldudp64.split(datagram)
        if name == moldudp64.CONTROL_SESSION and messages[0][:1] == b"L":
            if messages[0][47:] != self.cookie:
                return self.send(moldudp64.control(b"C" + self.cookie))
            if self.reject:
                return self.send(moldudp64.control(b"J" + self.reject))
            # In this order on purpose: datagrams may overtake each other.
            self.send(moldudp64.header(b"U" + TOKEN, len(self.upstream) + 1, 0))
            return self.send(moldudp64.control(b"AD" + TOKEN + b"1".rjust(20)))
        if name == moldudp64.CONTROL_SESSION:
            return self.logouts.append(messages[0])
        if name == b"U" + TOKEN and messages:
            for number, message in enumerate(messages, sequence):
                if number == len(self.upstream) + 1:
                    self.upstream.append(message)
                    self.downstream.append(message[::-1])
                    self.send(moldudp64.packet(b"D" + TOKEN, len(self.downstream), [self.downstream[-1]]))
            return self.send(moldudp64.header(b"U" + TOKEN, len(self.upstream) + 1, 0))
        if name == b"D" + TOKEN and count:
            answer = self.downstream[sequence - 1 : sequence - 1 + min(count, 20)]
            return self.send(moldudp64.packet(b"D" + TOKEN, sequence, answer))
        if name == b"D" + TOKEN:
            self.acknowledged = max(self.acknowledged, sequence)
        return None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.join()
        self.socket.close()


class SessionTest(unittest.TestCase):
    def test_messages_are_answered_in_order(self):
        with StandIn() as engine, Session(engine.address, "CLI00", "secret") as session:
            sent = [struct.pack(">I", n) for n in range(500)]
            session.send(*sent)
            self.assertEqual([session.receive() for _ in sent], [m[::-1] for m in sent])
            self.assertEqual(engine.upstream, sent)

    def test_loss_duplication_and_reordering_are_repaired(self):
        for seed in range(3):
            with self.subTest(seed=seed), StandIn(seed, faults=0.1) as engine:
                with Session(engine.address, "CLI00", "secret") as session:
                    answers = []
                    for n in range(100):
                        session.send(struct.pack(">I", n))
                        answers.append(session.receive(timeout=5.0))
                    self.assertEqual(answers, [struct.pack(">I", n)[::-1] for n in range(100)])
                    self.assertGreater(session.statistics["retransmitted"], 0)

    def test_rejected_login_names_the_reason(self):
        with StandIn(reject=b"A") as engine, self.assertRaises(LoginRejected) as caught:
            Session(engine.address, "CLI00", "wrong")
        self.assertEqual(caught.exception.reason, "A")

    def test_a_challenge_is_answered_with_its_cookie(self):
        for seed in range(3):
            with self.subTest(seed=seed), StandIn(seed, faults=0.1, cookie=b"0123456789abcdef") as engine:
                with Session(engine.address, "CLI00", "secret") as session:
                    session.send(b"abc")
                    self.assertEqual(session.receive(timeout=5.0), b"cba")

    def test_a_logout_names_its_session(self):
        with StandIn() as engine:
            Session(engine.address, "CLI00", "secret").close()
            deadline = time.monotonic() + 10
            while not engine.logouts and time.monotonic() < deadline:
                time.sleep(0.01)
            self.assertEqual(engine.logouts, [b"OD" + TOKEN])

    def test_only_who_knows_the_session_ends_it(self):
        with StandIn() as engine, Session(engine.address, "CLI00", "secret") as session:
            for stranger in (b"Z", b"ZD000000000", b"A" + b"D000000000" + b"1".rjust(20), b"JA", b"C" + bytes(16)):
                engine.socket.sendto(moldudp64.control(stranger), engine.peer)
            session.send(b"abc")
            self.assertEqual(session.receive(), b"cba")
            engine.socket.sendto(moldudp64.control(b"ZD" + TOKEN), engine.peer)
            with self.assertRaises(SessionEnded):
                session.idle(10)

    def test_no_engine_is_a_timeout(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unanswered:
            unanswered.bind(("127.0.0.1", 0))
            with self.assertRaises(TimeoutError):
                Session(unanswered.getsockname(), "CLI00", "secret", timeout=0.3)

    def test_garbage_is_counted_and_ignored(self):
        with StandIn() as engine, Session(engine.address, "CLI00", "secret") as session:
            engine.socket.sendto(b"garbage", engine.peer)
            session.send(b"abc")
            self.assertEqual(session.receive(), b"cba")
            self.assertEqual(session.statistics["malformed"], 1)

    def test_a_session_that_went_on_before_goes_on(self):
        with StandIn() as engine:
            with Session(engine.address, "CLI00", "secret") as session:
                session.send(b"ab", b"cd")
                self.assertEqual([session.receive(), session.receive()], [b"ba", b"dc"])
            with Session(engine.address, "CLI00", "secret") as session:
                self.assertEqual(session.send(b"ef"), 3)
                session.idle(0.1)
            self.assertEqual(engine.upstream, [b"ab", b"cd", b"ef"])


if __name__ == "__main__":
    unittest.main()
