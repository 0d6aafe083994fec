"""One order-entry session over UDP: login, two sequenced streams, acknowledgements, gap requests. Blocking, one thread.

Not a general event loop: everything happens inside `send`, `receive` and `idle`, so a program that computes for longer
than the engine's session timeout (15 s) without calling one of them is logged out.
"""

import collections
import select
import socket
import time

from . import moldudp64
from .errors import LoginRejected, NoAnswer, SessionEnded

HEARTBEAT_SECONDS = 1.0
RETRANSMIT_SECONDS = 0.05
GAP_REQUEST_SECONDS = 0.02
LOGIN_REPEAT_SECONDS = 0.25
# Accepted, challenge, rejected: first byte and length.
LOGIN_ANSWERS = ((b"A", 31), (b"C", 1 + moldudp64.COOKIE_LENGTH), (b"J", 2))
# The engine says something every second; silence this long means that it is gone.
SILENCE_SECONDS = 15.0
# How many answers may arrive before the engine is told of it; it keeps them until then.
ACKNOWLEDGE_EVERY = 16
ACKNOWLEDGE_SECONDS = 0.01
# Early datagrams kept while a gap is repaired.
PARKED_MESSAGES = 4096
EARLY_DATAGRAMS = 64
# Messages sent and not yet acknowledged; `send` waits when there are more.
WINDOW_MESSAGES = 1024


class Session:
    """A logged-in session. `sequence` is the next answer wanted: 1 replays the whole day, 0 skips to new ones.

    `address` is (host, port), or a list of them: the nodes of one venue, of which one answers. Each is asked for its share of
    `timeout`; `self.address` is the one that answered.
    """

    def __init__(self, address, username, password, *, session="", sequence=1, timeout=5.0):
        self.statistics = {"sent": 0, "received": 0, "duplicates": 0, "gaps": 0, "retransmitted": 0, "malformed": 0}
        self._ended = False
        self._ready = []  # answers in order, not yet handed out
        self._early = collections.deque(maxlen=EARLY_DATAGRAMS)  # overtook the answer to the login
        self._parked = {}  # sequence -> answer, early
        self._unacknowledged = {}  # our sequence -> message
        self._received_since_ack = 0
        self._gap_asked_at = 0.0
        targets = [address] if isinstance(address[0], str) else list(address)
        request = moldudp64.login_request(username, password, session, sequence)
        for place, self.address in enumerate(targets, 1):
            self._socket = self._open(self.address)
            self._early.clear()
            try:
                self._login(request, sequence, timeout / len(targets))
                return
            except NoAnswer:
                self._socket.close()
                if place == len(targets):
                    raise
            except BaseException:
                self._socket.close()
                raise

    @staticmethod
    def _open(address):
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        opened = socket.socket(family, socket.SOCK_DGRAM)
        opened.connect(address)
        opened.setblocking(False)
        return opened

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, *messages: bytes) -> int:
        """Sends `messages` in as few datagrams as they fit; returns the sequence number of the last one."""
        while len(self._unacknowledged) >= WINDOW_MESSAGES:
            self._step(RETRANSMIT_SECONDS)
        batch, size = [], 0
        for message in messages:
            if size + len(message) + 2 > moldudp64.MAX_PAYLOAD - moldudp64.HEADER.size:
                self._send_batch(batch)
                batch, size = [], 0
            batch.append(message)
            size += len(message) + 2
        if batch:
            self._send_batch(batch)
        return self._next_upstream - 1

    def receive(self, timeout: float = 1.0):
        """The next answer in sequence, or None after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not self._ready:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._step(left)
        return self._ready.pop(0)

    def idle(self, seconds: float) -> None:
        """Keeps the session alive for a while; what arrives waits for `receive`."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._step(left)

    @property
    def next_sequence(self) -> int:
        """What to log in with after a reconnection, to miss nothing."""
        return self._next_downstream - len(self._ready)

    def close(self, logout: bool = True) -> None:
        """Logs out and closes the socket."""
        if self._socket.fileno() >= 0:
            if logout and not self._ended:
                self._acknowledge()
                self._transmit(moldudp64.control(moldudp64.logout_request(self._downstream)))
            self._socket.close()

    def _login(self, request: bytes, sequence: int, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        cookie = b""
        while True:
            self._transmit(moldudp64.control(request + cookie))
            if time.monotonic() > deadline:
                raise NoAnswer(f"no answer to the login from {self.address[0]}:{self.address[1]} within {timeout:.1f} s")
            body = self._await_control(LOGIN_REPEAT_SECONDS)
            if body[:1] == b"C":  # logins queue up, and the engine wants to see that we receive
                cookie = moldudp64.challenge(body)
            if body[:1] == b"J":
                raise LoginRejected(chr(body[1]))
            if body[:1] == b"A":
                self._downstream, self._next_downstream = moldudp64.login_accepted(body)
                # Else it answers an earlier login, of a client before us at this port that asked for something else.
                if sequence in (0, self._next_downstream):
                    break
        self._upstream = b"U" + self._downstream[1:]
        self._next_upstream = 1
        self._last_sent = self._last_heard = self._progress_at = time.monotonic()
        # A session that exists already goes on where it was: the engine's acknowledgement of our stream says where.
        self._adopt_upstream = True
        for datagram in self._early:
            self._handle(datagram)
        self._early.clear()
        self._acknowledge()
        until = time.monotonic() + LOGIN_REPEAT_SECONDS
        while self._adopt_upstream and time.monotonic() < until:
            self._step(until - time.monotonic())
        self._adopt_upstream = False

    def _await_control(self, seconds: float) -> bytes:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self._socket], [], [], left)[0]:
                break
            try:
                datagram = self._socket.recv(65535)
                name, _, _, messages = moldudp64.split(datagram)
            except (moldudp64.Malformed, OSError):
                continue
            if name == moldudp64.CONTROL_SESSION and messages and (messages[0][:1], len(messages[0])) in LOGIN_ANSWERS:
                return messages[0]
            self._early.append(datagram)
        return b""

    def _send_batch(self, batch) -> None:
        first = self._next_upstream
        for offset, message in enumerate(batch):
            self._unacknowledged[first + offset] = message
        self._next_upstream = first + len(batch)
        self.statistics["sent"] += len(batch)
        if first == min(self._unacknowledged):
            self._progress_at = time.monotonic()
        self._transmit(moldudp64.packet(self._upstream, first, batch))

    def _step(self, timeout: float) -> None:
        """Waits for a datagram, at most until `timeout` or the next thing that is due, and handles what there is."""
        now = time.monotonic()
        wait = min(timeout, max(0.0, self._last_sent + HEARTBEAT_SECONDS - now))
        if self._unacknowledged:
            wait = min(wait, max(0.0, self._progress_at + RETRANSMIT_SECONDS - now))
        if self._received_since_ack:
            wait = min(wait, max(0.0, self._last_sent + ACKNOWLEDGE_SECONDS - now))
        if self._parked:
            wait = min(wait, max(0.0, self._gap_asked_at + GAP_REQUEST_SECONDS - now))
        if select.select([self._socket], [], [], wait)[0]:
            self._drain()
        self._maintain(time.monotonic())
        if self._ended:
            raise SessionEnded("the engine ended the session")
        if time.monotonic() - self._last_heard > SILENCE_SECONDS:
            raise SessionEnded(f"the engine has been silent for {SILENCE_SECONDS:.0f} s")

    def _drain(self) -> None:
        while True:
            try:
                datagram = self._socket.recv(65535)
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                return  # an ICMP error: the engine is away; the timers decide
            self._last_heard = time.monotonic()
            try:
                self._handle(datagram)
            except moldudp64.Malformed:
                self.statistics["malformed"] += 1

    def _handle(self, datagram: bytes) -> None:
        name, sequence, count, messages = moldudp64.split(datagram)
        if name == self._downstream:
            if count == moldudp64.END_OF_SESSION:
                self._ended = True
            elif messages:
                self._accept(sequence, messages)
            elif sequence > self._next_downstream:
                self._request_gap(sequence)  # a heartbeat that is ahead of us: the tail was lost
        elif name == self._upstream:
            if count == moldudp64.HEARTBEAT:
                self._acknowledged(sequence)
            else:
                self._retransmit(sequence, count)
        elif name == moldudp64.CONTROL_SESSION and messages == [moldudp64.end_of_session(self._downstream)]:
            self._ended = True

    def _accept(self, sequence: int, messages) -> None:
        for number, message in enumerate(messages, sequence):
            if number < self._next_downstream or number in self._parked:
                self.statistics["duplicates"] += 1
                self._received_since_ack += 1  # the engine missed our acknowledgement
            elif number == self._next_downstream:
                self._deliver(message)
            elif len(self._parked) < PARKED_MESSAGES:
                self._parked[number] = message
        while self._next_downstream in self._parked:
            self._deliver(self._parked.pop(self._next_downstream))
        if self._parked:
            self._request_gap(min(self._parked))
        elif self._received_since_ack >= ACKNOWLEDGE_EVERY:
            self._acknowledge()

    def _deliver(self, message: bytes) -> None:
        self._ready.append(message)
        self._next_downstream += 1
        self._received_since_ack += 1
        self.statistics["received"] += 1

    def _acknowledged(self, sequence: int) -> None:
        if self._adopt_upstream:
            self._next_upstream = max(self._next_upstream, sequence)
            self._adopt_upstream = False
        for number in [n for n in self._unacknowledged if n < sequence]:
            del self._unacknowledged[number]
            self._progress_at = time.monotonic()

    def _retransmit(self, first: int, count: int) -> None:
        batch, size, start = [], 0, first
        for number in range(first, first + count):
            message = self._unacknowledged.get(number)
            if message is None or size + len(message) + 2 > moldudp64.MAX_PAYLOAD - moldudp64.HEADER.size:
                break
            batch.append(message)
            size += len(message) + 2
        if batch:
            self.statistics["retransmitted"] += len(batch)
            self._transmit(moldudp64.packet(self._upstream, start, batch))

    def _request_gap(self, until: int) -> None:
        now = time.monotonic()
        if now - self._gap_asked_at >= GAP_REQUEST_SECONDS:
            self._gap_asked_at = now
            self.statistics["gaps"] += 1
            count = min(until - self._next_downstream, 0xFFFE)
            self._transmit(moldudp64.header(self._downstream, self._next_downstream, count))

    def _maintain(self, now: float) -> None:
        if self._unacknowledged and now - self._progress_at >= RETRANSMIT_SECONDS:
            self._progress_at = now
            self._retransmit(min(self._unacknowledged), len(self._unacknowledged))
        if self._parked:
            self._request_gap(min(self._parked))
        if self._received_since_ack and now - self._last_sent >= ACKNOWLEDGE_SECONDS:
            self._acknowledge()
        if now - self._last_sent >= HEARTBEAT_SECONDS:
            self._acknowledge()
            self._transmit(moldudp64.header(self._upstream, self._next_upstream, moldudp64.HEARTBEAT))

    def _acknowledge(self) -> None:
        self._received_since_ack = 0
        self._transmit(moldudp64.header(self._downstream, self._next_downstream, moldudp64.HEARTBEAT))

    def _transmit(self, datagram: bytes) -> None:
        self._last_sent = time.monotonic()
        try:
            self._socket.send(datagram)
        except (BlockingIOError, ConnectionRefusedError):
            pass  # lost, as any datagram may be
