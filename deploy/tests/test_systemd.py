"""The systemd units: systemd itself finds nothing wrong with them, and the engine's is as closed as its file says."""

import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

from tests.skipping import skip_log

UNITS = pathlib.Path(__file__).resolve().parent.parent / "systemd"


@unittest.skipUnless(shutil.which("systemd-analyze"), skip_log("systemd units", "no systemd-analyze on this machine", when=not shutil.which("systemd-analyze")))
class Units(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="pl-units-"))
        self.addCleanup(shutil.rmtree, self.folder)
        for unit in UNITS.glob("*.service"):
            # The programs are not installed here; verify wants to see them.
            text = re.sub(r"^(Exec\w+=)/usr/local/\S+", r"\1/bin/true", unit.read_text(), flags=re.M)
            (self.folder / unit.name).write_text(text)

    def test_verify_finds_nothing(self):
        for unit in sorted(self.folder.iterdir()):
            with self.subTest(unit=unit.name):
                result = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60)
                self.assertEqual((result.returncode, result.stderr), (0, ""))

    def test_exposure_stays_low(self):
        unit = self.folder / "pitlane.service"
        # The four capabilities of AF_XDP alone cost most of this.
        line = ["systemd-analyze", "security", "--offline=yes", "--threshold=30", unit]
        result = subprocess.run(line, capture_output=True, text=True, timeout=60)
        self.assertEqual(result.returncode, 0, result.stdout[-300:])


if __name__ == "__main__":
    unittest.main()
