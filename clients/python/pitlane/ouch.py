"""The part of OUCH 5.0 that an ordinary trading client needs: what it sends, and what it is answered.

Prices are integers with four decimals, as on the wire: 150_0000 is 150.0000.
"""

import struct
from typing import NamedTuple

from . import codes
from .errors import MalformedMessage, OrderRejected, UnknownMessage, UnknownTag

ENTER = struct.Struct(">cIcI8sQccccc14sH")
REPLACE = struct.Struct(">cIIIQccc14sH")
CANCEL = struct.Struct(">cII")
MODIFY = struct.Struct(">cIcI")
MASS_CANCEL = struct.Struct(">cI4s8sH")

MARKET_PRICE = 0x7FFF_FFFF
DAY, IOC = "0", "3"

# Appendage tags a client sends: name -> (tag, format of the value).
TAGS = {
    "firm": (2, "4s"),
    "min_qty": (3, "I"),
    "customer_type": (4, "c"),
    "max_floor": (5, "I"),
    "post_only": (12, "c"),
    "expire_time": (15, "I"),
    "group_id": (24, "H"),
    "side": (27, "c"),
    "user_ref_idx": (28, "B"),
    "aiq_strategy": (29, "c"),
    "aiq_group_id": (30, "2s"),
}
_TAG_NAMES = {tag: (name, form) for name, (tag, form) in TAGS.items()}


def appendage(**values) -> bytes:
    """The TagValue elements of `values`, by the names in TAGS."""
    out = b""
    for name, value in values.items():
        if name not in TAGS:
            raise UnknownTag(name, TAGS)
        tag, form = TAGS[name]
        if isinstance(value, str):
            value = value.encode("ascii").ljust(struct.calcsize(form))
        raw = struct.pack(">" + form, value)
        out += bytes((len(raw) + 1, tag)) + raw
    return out


def enter_order(
    user_ref_num: int,
    side: str,
    quantity: int,
    symbol: str,
    price: int,
    *,
    time_in_force: str = DAY,
    display: str = "Y",
    capacity: str = "P",
    intermarket_sweep: str = "N",
    cross_type: str = "N",
    cl_ord_id: str = "",
    **tags,
) -> bytes:
    """Enter Order `O`. `tags` are appendage values, for example max_floor=100 or post_only="P"."""
    tail = appendage(**tags)
    return (
        ENTER.pack(
            b"O",
            user_ref_num,
            _char(side),
            quantity,
            _alpha(symbol, 8),
            price,
            _char(time_in_force),
            _char(display),
            _char(capacity),
            _char(intermarket_sweep),
            _char(cross_type),
            _alpha(cl_ord_id, 14),
            len(tail),
        )
        + tail
    )


def replace_order(
    original: int,
    user_ref_num: int,
    quantity: int,
    price: int,
    *,
    time_in_force: str = DAY,
    display: str = "Y",
    intermarket_sweep: str = "N",
    cl_ord_id: str = "",
    **tags,
) -> bytes:
    """Replace Order `U`. `quantity` counts what the chain has already executed."""
    tail = appendage(**tags)
    return (
        REPLACE.pack(
            b"U",
            original,
            user_ref_num,
            quantity,
            price,
            _char(time_in_force),
            _char(display),
            _char(intermarket_sweep),
            _alpha(cl_ord_id, 14),
            len(tail),
        )
        + tail
    )


def cancel_order(user_ref_num: int, quantity: int = 0) -> bytes:
    """Cancel Order `X` down to a new total `quantity`; 0 cancels all of it."""
    return CANCEL.pack(b"X", user_ref_num, quantity)


def modify_order(user_ref_num: int, side: str, quantity: int) -> bytes:
    """Modify Order `M`: a smaller quantity, or another kind of sell, without losing priority."""
    return MODIFY.pack(b"M", user_ref_num, _char(side), quantity)


def mass_cancel(user_ref_num: int, *, firm: str = "", symbol: str = "", **tags) -> bytes:
    """Mass Cancel `C`: every open order of the session, or of `firm`, of one symbol or of all. `tags` narrow it: side, group_id."""
    tail = appendage(**tags)
    return MASS_CANCEL.pack(b"C", user_ref_num, _alpha(firm, 4), _alpha(symbol, 8), len(tail)) + tail


def account_query() -> bytes:
    """Account Query `Q`: which UserRefNum is next."""
    return b"Q"


class Message(NamedTuple):
    """A decoded answer: its type, its fields by name, its appendage by tag name (or number, where unnamed)."""

    type: str
    fields: dict
    tags: dict

    def __getattr__(self, name):
        try:
            return self.fields[name]
        except KeyError:
            raise AttributeError(f"message {self.type!r} has no field {name!r}") from None


# type -> (name, fixed part after the type without AppendageLength, field names)
_OUTBOUND = {
    "S": ("system_event", "Qc", "timestamp event_code"),
    "A": (
        "accepted",
        "QIcI8sQccQcccc14s",
        "timestamp user_ref_num side quantity symbol price time_in_force display order_reference_number capacity "
        "intermarket_sweep cross_type order_state cl_ord_id",
    ),
    "U": (
        "replaced",
        "QIIcI8sQccQcccc14s",
        "timestamp original_user_ref_num user_ref_num side quantity symbol price time_in_force display "
        "order_reference_number capacity intermarket_sweep cross_type order_state cl_ord_id",
    ),
    "C": ("canceled", "QIIc", "timestamp user_ref_num quantity reason"),
    "D": (
        "aiq_canceled",
        "QIIcIQcc",
        "timestamp user_ref_num decrement_shares reason quantity_prevented execution_price liquidity_flag aiq_strategy",
    ),
    "E": ("executed", "QIIQcQ", "timestamp user_ref_num quantity price liquidity_flag match_number"),
    "B": ("broken_trade", "QIQc14s", "timestamp user_ref_num match_number reason cl_ord_id"),
    "J": ("rejected", "QIH14s", "timestamp user_ref_num reason cl_ord_id"),
    "P": ("cancel_pending", "QI", "timestamp user_ref_num"),
    "I": ("cancel_reject", "QI", "timestamp user_ref_num"),
    "T": ("priority_update", "QIQcQ", "timestamp user_ref_num price display order_reference_number"),
    "M": ("modified", "QIcI", "timestamp user_ref_num side quantity"),
    "R": ("restated", "QIc", "timestamp user_ref_num reason"),
    "X": ("mass_cancel_response", "QI4s8s", "timestamp user_ref_num firm symbol"),
    "G": ("disable_response", "QI4s", "timestamp user_ref_num firm"),
    "K": ("enable_response", "QI4s", "timestamp user_ref_num firm"),
    "Q": ("account_query_response", "QI", "timestamp next_user_ref_num"),
}


def name_of(message: Message) -> str:
    """What the type letter stands for."""
    if message.type not in _OUTBOUND:
        raise UnknownMessage(message.type)
    return _OUTBOUND[message.type][0]


def reason_of(message: Message) -> str | None:
    """Why an order was rejected or cancelled, in words; None for every other message."""
    if message.type == "J":
        return codes.reject_reason(message.reason)
    if message.type in "CD":
        return codes.cancel_reason(message.reason)
    return None


def raise_if_rejected(message: Message) -> Message:
    """The message itself, or `OrderRejected` with the reason in words."""
    if message.type == "J":
        raise OrderRejected(message.user_ref_num, message.reason, codes.reject_reason(message.reason))
    return message


def decode(raw: bytes) -> Message:
    """An answer of the engine. Raises ValueError with what was wrong."""
    if not raw:
        raise MalformedMessage("an empty message")
    kind = chr(raw[0])
    if kind not in _OUTBOUND:
        raise UnknownMessage(kind)
    _, form, names = _OUTBOUND[kind]
    layout = struct.Struct(">" + form)
    if len(raw) < 1 + layout.size:
        raise MalformedMessage(f"{len(raw)} bytes are too few for a message {kind!r} of {1 + layout.size}")
    values = (v.decode("latin-1").rstrip() if isinstance(v, bytes) else v for v in layout.unpack_from(raw, 1))
    return Message(kind, dict(zip(names.split(), values)), _tags(raw[1 + layout.size :]))


def _tags(tail: bytes) -> dict:
    if not tail:
        return {}
    if len(tail) < 2 or struct.unpack_from(">H", tail)[0] != len(tail) - 2:
        raise MalformedMessage(f"the appendage's length does not match its {len(tail)} bytes")
    tags, at = {}, 2
    while at < len(tail):
        length = tail[at]
        if length < 1 or at + 1 + length > len(tail):
            raise MalformedMessage(f"an appendage element claims {length} bytes")
        tag, value = tail[at + 1], tail[at + 2 : at + 1 + length]
        name, form = _TAG_NAMES.get(tag, (tag, None))
        if form and struct.calcsize(form) == len(value):
            (value,) = struct.unpack(">" + form, value)
        tags[name] = value.decode("latin-1").rstrip() if isinstance(value, bytes) else value
        at += 1 + length
    return tags


def _char(text: str) -> bytes:
    return text.encode("ascii")


def _alpha(text: str, length: int) -> bytes:
    raw = text.encode("ascii")
    if len(raw) > length:
        raise ValueError(f"{text!r} is longer than {length} characters")
    return raw.ljust(length)
