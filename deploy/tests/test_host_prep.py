"""host-prep.sh: on an emulated NIC for the stages that need hardware, and on a real veth pair (root) for the rest."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

from tests.skipping import skip_log

HERE = pathlib.Path(__file__).resolve().parent
SCRIPT = HERE.parent / "host-prep.sh"


class EmulatedNic(unittest.TestCase):
    """An i40e with 8 channels, two of them to be the shards'."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="pl-host-prep-"))
        self.addCleanup(shutil.rmtree, self.folder)
        (self.folder / "bin").mkdir()
        # The interpreter by its path: finding it anew takes longer than the stand-in itself.
        stand_in = (HERE / "fake_ethtool.py").read_text().split("\n", 1)[1]
        (self.folder / "bin/ethtool").write_text(f"#!{sys.executable} -IS\n{stand_in}")
        (self.folder / "bin/ethtool").chmod(0o755)
        self.nic_file = self.folder / "nic.json"
        self.nic = {
            "channels": 8,
            "custom_rss": False,
            "rss": [slot % 8 for slot in range(16)],
            "features": {
                "generic-receive-offload": "on",
                "large-receive-offload": "off [fixed]",
                "rx-udp-gro-forwarding": "on",
                "rx-gro-list": "off",
                "ntuple-filters": "off",
            },
            "rules": {},
        }
        self.nic_file.write_text(json.dumps(self.nic))
        device = self.folder / "sys/class/net/eth9/device"
        (device / "msi_irqs").mkdir(parents=True)
        (self.folder / "drivers/i40e").mkdir(parents=True)
        (device / "driver").symlink_to(self.folder / "drivers/i40e")
        for name, value in (("mtu", 1500), ("napi_defer_hard_irqs", 0), ("gro_flush_timeout", 0)):
            (device.parent / name).write_text(f"{value}\n")
        interrupts = "           CPU0       CPU1\n"
        for queue in range(8):
            irq = 120 + queue
            (device / "msi_irqs" / str(irq)).write_text("msix\n")
            (self.folder / f"proc/irq/{irq}").mkdir(parents=True)
            (self.folder / f"proc/irq/{irq}/smp_affinity_list").write_text("0-15\n")
            interrupts += f" {irq}:          0          0  IR-PCI-MSIX-0000:01:00.0   {queue}-edge  i40e-eth9-TxRx-{queue}\n"
        (self.folder / "proc/interrupts").write_text(interrupts)

    def run_script(self, command, *options):
        environment = dict(
            os.environ,
            FAKE_ETHTOOL_STATE=str(self.nic_file),
            PATH=f"{self.folder}/bin:{os.environ['PATH']}",
            HOST_PREP_SYS=str(self.folder / "sys"),
            HOST_PREP_PROC=str(self.folder / "proc"),
            HOST_PREP_LIMITS=str(self.folder / "limits.d"),
        )
        line = [SCRIPT, command, "--interface", "eth9", "--state", self.folder / "state", *options]
        return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=60)

    def everything(self):
        """All that the script may change, by path."""
        out = {"nic": json.loads(self.nic_file.read_text())}
        for path in sorted(self.folder.glob("sys/class/net/eth9/*")) + sorted(self.folder.glob("proc/irq/*/*")):
            if path.is_file():
                out[str(path)] = path.read_text()
        out["limits"] = sorted(path.name for path in self.folder.glob("limits.d/*"))
        return out

    two_shards = ("--shards", "2", "--port", "9000", "--cores", "4,5")

    def test_apply_gives_each_shard_a_queue_of_its_own(self):
        self.assertEqual(self.run_script("check", *self.two_shards).returncode, 1)
        applied = self.run_script("apply", *self.two_shards)
        self.assertEqual(applied.returncode, 0, applied.stdout + applied.stderr)
        nic = json.loads(self.nic_file.read_text())
        self.assertEqual(min(nic["rss"]), 2)
        self.assertEqual(
            sorted(map(tuple, nic["rules"].values())),
            [("udp4", 9000, 0), ("udp4", 9001, 1), ("udp6", 9000, 0), ("udp6", 9001, 1)],
        )
        self.assertEqual(nic["features"]["generic-receive-offload"], "off")
        self.assertEqual(nic["features"]["rx-udp-gro-forwarding"], "off")
        self.assertEqual((self.folder / "proc/irq/121/smp_affinity_list").read_text(), "5\n")
        self.assertEqual((self.folder / "proc/irq/122/smp_affinity_list").read_text(), "0-15\n")
        self.assertEqual((self.folder / "sys/class/net/eth9/napi_defer_hard_irqs").read_text(), "2\n")
        checked = self.run_script("check", *self.two_shards)
        self.assertEqual(checked.returncode, 0, checked.stdout)

    def test_undo_restores_every_value(self):
        before = self.everything()
        self.run_script("apply", *self.two_shards)
        self.assertNotEqual(self.everything(), before)
        undone = self.run_script("undo")
        self.assertEqual(undone.returncode, 0, undone.stdout + undone.stderr)
        self.assertEqual(self.everything(), before)
        self.assertFalse((self.folder / "state/eth9").exists())

    def test_undo_after_two_applies_restores_the_first_state(self):
        before = self.everything()
        self.run_script("apply", *self.two_shards)
        self.run_script("apply", "--shards", "3", "--port", "9100", "--cores", "4,5,6")
        self.assertEqual(self.run_script("undo").returncode, 0)
        self.assertEqual(self.everything(), before)

    def test_channels_are_added_where_there_are_too_few(self):
        self.nic.update(channels=1, rss=[0] * 16)
        self.nic_file.write_text(json.dumps(self.nic))
        before = self.everything()
        self.assertEqual(self.run_script("apply", *self.two_shards).returncode, 0)
        nic = json.loads(self.nic_file.read_text())
        self.assertEqual((nic["channels"], set(nic["rss"])), (3, {2}))
        self.assertEqual(self.run_script("undo").returncode, 0)
        self.assertEqual(self.everything(), before)

    def test_shared_rss_range_of_another_tool_is_restored(self):
        self.nic.update(custom_rss=True, rss=[4 + slot % 2 for slot in range(16)])
        self.nic_file.write_text(json.dumps(self.nic))
        before = self.everything()
        self.run_script("apply", "--shards", "5", "--port", "9000")
        self.assertEqual(self.run_script("undo").returncode, 0)
        self.assertEqual(self.everything(), before)

    def test_interrupts_are_not_deferred_on_a_driver_without_zero_copy(self):
        driver = self.folder / "sys/class/net/eth9/device/driver"
        driver.unlink()
        driver.symlink_to(self.folder / "drivers/ena")
        self.assertEqual(self.run_script("apply", *self.two_shards).returncode, 0)
        self.assertEqual((self.folder / "sys/class/net/eth9/napi_defer_hard_irqs").read_text(), "0\n")

    def test_jumbo_frames_are_refused_before_anything_is_changed(self):
        (self.folder / "sys/class/net/eth9/mtu").write_text("9000\n")
        before = self.everything()
        applied = self.run_script("apply", *self.two_shards)
        self.assertNotEqual(applied.returncode, 0)
        self.assertIn("MTU is 9000, at most 3498", applied.stdout)
        self.assertEqual(self.everything(), before)

    def test_wrong_arguments_are_named(self):
        for options, complaint in (
            (("--shards", "0"), "--shards must be a number from 1 to 64"),
            (("--port", "70000"), "--port must be"),
            (("--shards", "2", "--cores", "1"), "--cores needs one core for each of the 2 shards"),
        ):
            with self.subTest(options=options):
                result = self.run_script("apply", *options)
                self.assertEqual(result.returncode, 2)
                self.assertIn(complaint, result.stderr)


@unittest.skipIf(os.geteuid() != 0, skip_log("host preparation", "not root, the veth part did not run", when=os.geteuid() != 0))
class Veth(unittest.TestCase):
    """A real veth pair with four queues in a network namespace of its own."""

    def setUp(self):
        self.netns = f"pl-{os.getpid()}-prep"
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="pl-host-prep-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.command("ip", "netns", "add", self.netns)
        self.addCleanup(self.command, "ip", "netns", "del", self.netns)
        peer = ["peer", "name", "right", "numrxqueues", "4", "numtxqueues", "4"]
        self.inside("ip", "link", "add", "left", "numrxqueues", "4", "numtxqueues", "4", "type", "veth", *peer)

    @staticmethod
    def command(*line):
        return subprocess.run(line, check=True, capture_output=True, text=True, timeout=30).stdout

    def inside(self, *line):
        return self.command("ip", "netns", "exec", self.netns, *line)

    def host_prep(self, command, *options):
        line = ["ip", "netns", "exec", self.netns, SCRIPT, command, "--interface", "left", "--state", self.folder / "state"]
        environment = dict(os.environ, HOST_PREP_LIMITS=str(self.folder / "limits.d"))
        return subprocess.run([*line, *options], env=environment, capture_output=True, text=True, timeout=60)

    def interface(self):
        settings = [self.inside("ethtool", option, "left") for option in ("-k", "-l")]
        for name in ("napi_defer_hard_irqs", "gro_flush_timeout"):
            settings.append(self.inside("cat", f"/sys/class/net/left/{name}"))
        return settings

    def test_apply_then_undo_leaves_the_interface_as_it_was(self):
        self.inside("ethtool", "-K", "left", "gro", "on", "rx-udp-gro-forwarding", "on")
        before = self.interface()
        applied = self.host_prep("apply", "--shards", "2")
        self.assertEqual(applied.returncode, 0, applied.stdout + applied.stderr)
        self.assertIn("generic-receive-offload: off", self.interface()[0])
        self.assertIn("not a zero-copy driver", applied.stdout)
        self.assertEqual(self.interface()[2:], before[2:], "interrupts of a veth must never be deferred")
        checked = self.host_prep("check", "--shards", "2")
        self.assertEqual(checked.returncode, 0, checked.stdout)
        self.assertEqual(self.host_prep("undo").returncode, 0)
        self.assertEqual(self.interface(), before)


if __name__ == "__main__":
    unittest.main()
