"""A small client of Pitlane's order entry over UDP. Standard library only.

It is for tests, examples and people who want to read one page to understand the protocol; it is not fast:
Python answers a few ten thousand messages a second at best. `pitlane-loadgen` measures the engine.

    from pitlane import Session, ouch

    with Session(("127.0.0.1", 9000), "TRADER", "secret") as session:
        session.send(ouch.enter_order(1, "B", 100, "AAPL", 150_0000))
        print(ouch.decode(session.receive(timeout=1.0)))
"""

from . import codes, moldudp64, ouch
from .errors import (
    LoginRejected,
    MalformedMessage,
    NoAnswer,
    OrderRejected,
    PitlaneError,
    SessionEnded,
    UnknownMessage,
    UnknownTag,
)
from .session import Session

__all__ = [
    "LoginRejected",
    "MalformedMessage",
    "NoAnswer",
    "OrderRejected",
    "PitlaneError",
    "Session",
    "SessionEnded",
    "UnknownMessage",
    "UnknownTag",
    "codes",
    "moldudp64",
    "ouch",
]
