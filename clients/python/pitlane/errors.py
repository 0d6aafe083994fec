"""What can go wrong, each as a type of its own. All are `PitlaneError`."""


class PitlaneError(Exception):
    """Of this package."""


class LoginRejected(PitlaneError):
    """The engine said no: `reason` is SoupBinTCP's letter ('A' not authorised, 'S' session not available)."""

    def __init__(self, reason: str):
        super().__init__(f"login rejected, reason {reason!r}")
        self.reason = reason


class NoAnswer(PitlaneError, TimeoutError):
    """Nobody answered the login at any of the targets."""


class SessionEnded(PitlaneError):
    """The engine ended the session, or has been silent for too long."""


class UnknownTag(PitlaneError, ValueError):
    """An appendage tag that this client has no name for."""

    def __init__(self, name: str, known):
        super().__init__(f"unknown tag {name!r}; expected one of {', '.join(sorted(known))}")
        self.name = name


class UnknownMessage(PitlaneError, ValueError):
    """A message whose type letter OUCH does not have."""

    def __init__(self, kind: str):
        super().__init__(f"unknown message type {kind!r}")
        self.kind = kind


class MalformedMessage(PitlaneError, ValueError):
    """Bytes that are not what their type letter or their length says."""


class OrderRejected(PitlaneError):
    """The engine refused a request: `code` is OUCH's number, `reason` its name."""

    def __init__(self, user_ref_num: int, code: int, reason: str):
        super().__init__(f"order {user_ref_num} rejected: {reason}")
        self.user_ref_num, self.code, self.reason = user_ref_num, code, reason
