"""The client's bytes against bytes from real captures and from the specifications' tables."""

import struct
import unittest

from pitlane import moldudp64, ouch

# Captured from a real OUCH 5.0 port (payload after the SoupBinTCP header).
CAPTURED_ENTER = bytes.fromhex(
    "4f0000007154000000e143564c54202020200000000000099db8"
    "3059414e4e4838465542384956202020202020000605024c494d45"
)
CAPTURED_ACCEPTED = bytes.fromhex(
    "410000289b4d64af8700753a8d42000000284144424520202020000000000048e7483559000000000f56b4f5414e4e4c"
    "3736383237303120202020202020000905024d4c524f021230"
)


class Ouch(unittest.TestCase):
    def test_enter_order_equals_the_capture(self):
        made = ouch.enter_order(
            113, "T", 225, "CVLT", 63_0200, display="Y", capacity="A", cl_ord_id="H8FUB8IV", firm="LIME"
        )
        self.assertEqual(made, CAPTURED_ENTER)

    def test_accepted_of_the_capture_is_understood(self):
        message = ouch.decode(CAPTURED_ACCEPTED)
        self.assertEqual(message.type, "A")
        self.assertEqual((message.symbol, message.quantity, message.price), ("ADBE", 40, 477_7800))
        self.assertEqual(message.tags, {"firm": "MLRO", 18: "0"})

    def test_lengths_are_those_of_the_tables(self):
        self.assertEqual(len(ouch.enter_order(1, "B", 1, "A", 1)), 47)
        self.assertEqual(len(ouch.replace_order(1, 2, 1, 1)), 40)
        self.assertEqual(len(ouch.cancel_order(1)), 9)
        self.assertEqual(len(ouch.modify_order(1, "S", 1)), 10)
        self.assertEqual(len(ouch.account_query()), 1)

    def test_outbound_without_appendage_is_understood(self):
        raw = b"C" + struct.pack(">QII", 5, 7, 100) + b"U"
        message = ouch.decode(raw)
        self.assertEqual((ouch.name_of(message), message.user_ref_num, message.reason), ("canceled", 7, "U"))

    def test_appendage_elements_are_length_tag_value(self):
        self.assertEqual(ouch.appendage(max_floor=100, post_only="P"), bytes.fromhex("050500000064") + b"\x02\x0cP")

    def test_whatever_is_wrong_is_an_error_not_a_crash(self):
        for raw in (b"", b"?", b"A", CAPTURED_ACCEPTED[:-1], CAPTURED_ACCEPTED[:62] + b"\x00\x01\x00"):
            with self.subTest(raw=raw), self.assertRaises(ValueError):
                ouch.decode(raw)

    def test_text_that_does_not_fit_is_refused(self):
        with self.assertRaises(ValueError):
            ouch.enter_order(1, "B", 1, "TOOLONGSYMBOL", 1)


class MoldUdp64(unittest.TestCase):
    def test_packet_is_header_then_length_prefixed_blocks(self):
        made = moldudp64.packet(b"U123456789", 7, [b"ab", b""])
        self.assertEqual(made, b"U123456789" + bytes(7) + b"\x07\x00\x02" + b"\x00\x02ab" + b"\x00\x00")
        self.assertEqual(moldudp64.split(made), (b"U123456789", 7, 2, [b"ab", b""]))

    def test_header_alone_is_heartbeat_or_request(self):
        self.assertEqual(moldudp64.split(moldudp64.header(b"D123456789", 9, 0))[1:], (9, 0, []))
        self.assertEqual(moldudp64.split(moldudp64.header(b"D123456789", 9, 3))[1:], (9, 3, []))

    def test_login_request_is_47_bytes_in_a_control_datagram(self):
        body = moldudp64.login_request("CLI01", "secret", sequence=1)
        self.assertEqual(body, b"LCLI01 secret    " + b" " * 10 + b" " * 19 + b"1")
        self.assertEqual(moldudp64.control(body)[:22], b" " * 10 + bytes(8) + b"\x00\x01" + b"\x00\x2f")

    def test_login_accepted_gives_session_and_sequence(self):
        body = b"AD123456789" + b"17".rjust(20)
        self.assertEqual(moldudp64.login_accepted(body), (b"D123456789", 17))

    def test_lying_datagrams_are_malformed(self):
        good = moldudp64.packet(b"U123456789", 1, [b"abc"])
        for raw in (b"", good[:-1], good + b"x", good[:18] + b"\x00\x02" + good[20:], good[:19]):
            with self.subTest(raw=raw), self.assertRaises(moldudp64.Malformed):
                moldudp64.split(raw)


if __name__ == "__main__":
    unittest.main()
