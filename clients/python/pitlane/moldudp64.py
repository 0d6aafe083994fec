"""MoldUDP64 datagrams and the SoupBinTCP bodies that control a session. Bytes only: no sockets, no state."""

import struct

from .errors import MalformedMessage

HEADER = struct.Struct(">10sQH")
HEARTBEAT = 0
END_OF_SESSION = 0xFFFF
MAX_PAYLOAD = 1472
CONTROL_SESSION = b" " * 10
COOKIE_LENGTH = 16


class Malformed(MalformedMessage):
    """The datagram does not say what it claims to."""


def header(session: bytes, sequence: int, count: int) -> bytes:
    """A bare header: a heartbeat, an acknowledgement (count 0) or a request (count > 0), by whose stream it names."""
    return HEADER.pack(session, sequence, count)


def packet(session: bytes, sequence: int, messages: list[bytes]) -> bytes:
    """A packet of `messages`, the first of which has number `sequence`."""
    blocks = b"".join(struct.pack(">H", len(message)) + message for message in messages)
    return HEADER.pack(session, sequence, len(messages)) + blocks


def split(datagram: bytes) -> tuple[bytes, int, int, list[bytes]]:
    """(session, sequence, count, messages). A request or a heartbeat has no messages."""
    if len(datagram) < HEADER.size:
        raise Malformed(f"{len(datagram)} bytes are too few for the {HEADER.size}-byte header")
    session, sequence, count = HEADER.unpack_from(datagram)
    messages, at = [], HEADER.size
    if count in (HEARTBEAT, END_OF_SESSION) or len(datagram) == HEADER.size:
        return session, sequence, count, messages
    for index in range(count):
        if at + 2 > len(datagram):
            raise Malformed(f"block {index} of {count} has no length")
        (length,) = struct.unpack_from(">H", datagram, at)
        at += 2
        if at + length > len(datagram):
            raise Malformed(f"block {index} claims {length} bytes, {len(datagram) - at} are left")
        messages.append(datagram[at : at + length])
        at += length
    if at != len(datagram):
        raise Malformed(f"{len(datagram) - at} bytes after the last block")
    return session, sequence, count, messages


def control(body: bytes) -> bytes:
    """A control datagram: one body in a session of ten spaces."""
    return packet(CONTROL_SESSION, 0, [body])


def login_request(username: str, password: str, session: str = "", sequence: int = 1) -> bytes:
    """SoupBinTCP `L`. `sequence` is the next message wanted: 1 for everything, 0 for only new ones."""
    return b"L" + b"".join(
        (
            _padded(username, 6),
            _padded(password, 10),
            session.encode("ascii").rjust(10),
            str(sequence).encode("ascii").rjust(20),
        )
    )


def login_accepted(body: bytes) -> tuple[bytes, int]:
    """(downstream session, next downstream sequence) of a SoupBinTCP `A`."""
    if len(body) != 31 or body[:1] != b"A":
        raise Malformed(f"not a login acceptance: {body!r}")
    return body[1:11], int(body[11:31])


def logout_request(session: bytes) -> bytes:
    """`O` of the downstream session: its name shows that it is ours to end."""
    return b"O" + session


def end_of_session(session: bytes) -> bytes:
    """The `Z` with which the engine ends the downstream session."""
    return b"Z" + session


def challenge(body: bytes) -> bytes:
    """The cookie of a `C`, to be appended to the login when it is sent again."""
    if len(body) != 1 + COOKIE_LENGTH or body[:1] != b"C":
        raise Malformed(f"not a challenge: {body!r}")
    return body[1:]


def _padded(text: str, length: int) -> bytes:
    raw = text.encode("ascii")
    if len(raw) > length:
        raise ValueError(f"{text!r} is longer than {length} characters")
    return raw.ljust(length)
