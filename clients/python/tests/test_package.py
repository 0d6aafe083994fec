"""What makes the client a package: names of codes, typed errors, mass cancel, several targets, and an installation that works."""

import pathlib
import re
import socket
import struct
import subprocess
import sys
import tempfile
import unittest

import pitlane
from pitlane import codes, moldudp64, ouch
from tests.test_session import StandIn

ROOT = pathlib.Path(__file__).resolve().parents[3]


def engine_table(module):
    """(value, name) of the engine's own table of a code."""
    text = (ROOT / "wire/src/ouch/codes.rs").read_text()
    body = re.search(module + r"(?: \w+)?: \w+ \{(.*?)\n    \}", text, re.S).group(1)
    return re.findall(r"(0x[0-9A-Fa-f]+|b'.') [A-Z0-9_]+ \"([^\"]*)\"", body)


class Codes(unittest.TestCase):
    def test_names_are_those_of_the_engine(self):
        self.assertEqual({int(value, 16): name for value, name in engine_table("reject_reason")}, codes.REJECT_REASONS)
        self.assertEqual({value[2]: name for value, name in engine_table("cancel_reason")}, codes.CANCEL_REASONS)

    def test_reasons_come_in_words(self):
        rejected = ouch.decode(b"J" + struct.pack(">QIH14s", 1, 7, 0x0002, b" " * 14))
        self.assertEqual(ouch.reason_of(rejected), "Destination Closed (0x0002)")
        with self.assertRaises(pitlane.OrderRejected) as caught:
            ouch.raise_if_rejected(rejected)
        self.assertEqual((caught.exception.user_ref_num, caught.exception.code), (7, 2))
        self.assertIn("Destination Closed", str(caught.exception))
        self.assertEqual(codes.reject_reason(0xFFF), "Unknown (0x0fff)")
        canceled = ouch.decode(b"C" + struct.pack(">QII", 5, 7, 100) + b"U")
        self.assertIn(codes.CANCEL_REASONS["U"], ouch.reason_of(canceled))
        self.assertIs(ouch.raise_if_rejected(canceled), canceled)
        self.assertIsNone(ouch.reason_of(ouch.Message("Q", {}, {})))


class Errors(unittest.TestCase):
    def test_each_wrong_thing_has_a_type_of_its_own(self):
        with self.assertRaises(pitlane.UnknownTag) as caught:
            ouch.enter_order(1, "B", 1, "A", 1, max_flor=1)
        self.assertIn("max_floor", str(caught.exception), "what was expected is said")
        with self.assertRaises(pitlane.UnknownMessage):
            ouch.decode(b"~")
        with self.assertRaises(pitlane.UnknownMessage):
            ouch.name_of(ouch.Message("~", {}, {}))
        for raw in (b"", b"A", b"J" + bytes(28) + b"\0\5\1"):
            with self.assertRaises(pitlane.MalformedMessage):
                ouch.decode(raw)
        with self.assertRaises(pitlane.MalformedMessage):
            moldudp64.split(b"short")
        for error in (pitlane.UnknownTag, pitlane.MalformedMessage, pitlane.NoAnswer, pitlane.LoginRejected, pitlane.SessionEnded):
            self.assertTrue(issubclass(error, pitlane.PitlaneError))


class MassCancel(unittest.TestCase):
    def test_bytes_are_those_of_the_table(self):
        self.assertEqual(ouch.mass_cancel(7), b"C\0\0\0\7" + b" " * 12 + b"\0\0")
        made = ouch.mass_cancel(7, firm="FRMA", symbol="AAPL", side="B")
        self.assertEqual(made, b"C\0\0\0\7FRMAAAPL    \0\3\2\x1bB")


class Targets(unittest.TestCase):
    def test_the_node_that_answers_is_found(self):
        nobody = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        nobody.bind(("127.0.0.1", 0))
        stand_in = StandIn()
        stand_in.start()
        try:
            targets = [nobody.getsockname(), stand_in.address]
            with pitlane.Session(targets, "USER", "secret", timeout=2.0) as session:
                self.assertEqual(session.address, stand_in.address)
                session.send(b"abc")
                self.assertEqual(session.receive(2.0), b"cba")
        finally:
            stand_in.stopping.set()
            stand_in.join()
            nobody.close()

    def test_nobody_at_any_target_is_said(self):
        nobody = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        nobody.bind(("127.0.0.1", 0))
        address = nobody.getsockname()
        with nobody, self.assertRaises(pitlane.NoAnswer) as caught:
            pitlane.Session([address] * 2, "USER", "secret", timeout=0.4)
        self.assertIn(f"{address[0]}:{address[1]}", str(caught.exception))


class Package(unittest.TestCase):
    def test_what_is_declared_is_there(self):
        import tomllib

        project = tomllib.loads((ROOT / "clients/python/pyproject.toml").read_text())["project"]
        module, _, function = project["scripts"]["pitlane-loadtest"].partition(":")
        self.assertTrue(callable(getattr(__import__(module, fromlist=[function]), function)))
        self.assertTrue((ROOT / "clients/python" / project["readme"]).is_file())
        self.assertEqual(project["dependencies"], [])

    def test_the_example_of_the_read_me_compiles(self):
        text = (ROOT / "clients/python/README.md").read_text()
        for block in re.findall(r"```python\n(.*?)```", text, re.S):
            compile(block, "README.md", "exec")

    def test_it_works_from_anywhere_once_it_is_on_the_path(self):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [sys.executable, "-m", "pitlane.loadtest", "--help"],
                cwd=folder,
                env={"PYTHONPATH": str(ROOT / "clients/python")},
                capture_output=True,
                text=True,
                check=True,
            )
        self.assertIn("--clients", done.stdout)


if __name__ == "__main__":
    unittest.main()
