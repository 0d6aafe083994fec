"""The page of `pitlane-loadgen report --html` in a real browser: rendered without an error, readable on a wide and on a narrow screen, dark and
light, and every figure of the JSON on it. Drives Debian's Chromium through chromedriver; the reports are of real runs over loopback.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARIES = pathlib.Path(os.environ.get("PITLANE_TEST_BINARIES", ROOT / "target/debug"))
HASH = "$argon2id$v=19$m=8,t=1,p=1$WV32HnkeHd51Hyunu9rwgA$/i2OsYvymuUmDzLaHHfKceWR/3MB1UsjH7fq9m8x7oQ"
BROWSER = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
           "--disable-component-update", "--disable-sync", "--hide-scrollbars"]
PATIENCE = 60


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def await_true(what, check):
    deadline = time.monotonic() + PATIENCE
    while not check():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.05)


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return response.status == 200
    except OSError:
        return False


class Browser:
    """A session of WebDriver, in as much as is needed."""

    def __init__(self, folder):
        port = free_port()
        self.driver = subprocess.Popen(
            ["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self.base = f"http://127.0.0.1:{port}"
        await_true("chromedriver", lambda: answers(self.base + "/status"))
        options = {"args": [*BROWSER, f"--user-data-dir={folder}"], "binary": shutil.which("chromium")}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = self.post("/session", {"capabilities": {"alwaysMatch": wanted}})
        self.base += "/session/" + session["sessionId"]

    def post(self, path, body):
        request = urllib.request.Request(self.base + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return json.load(response)["value"]

    def script(self, text):
        return self.post("/execute/sync", {"script": text, "args": []})

    def devtools(self, command, **parameters):
        return self.post("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def close(self):
        os.killpg(self.driver.pid, signal.SIGKILL)
        self.driver.wait()


def leaves(value):
    """Every figure and text of a report."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner)
    elif value is not None:
        yield value


def skip_reason():
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            return f"{program} is not here (scripts/deps.sh test installs it)"
    return None


def note_skip():
    reason, log = skip_reason(), os.environ.get("PITLANE_TEST_SKIP_LOG")
    if reason and log:
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"the page in a browser: {reason}\n")
    return reason


@unittest.skipIf(note_skip(), skip_reason())
class Page(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="pitlane-page-")
        cls.addClassCleanup(cls.folder.cleanup)
        folder = pathlib.Path(cls.folder.name)
        port, admin = free_port(), free_port()
        (folder / "c.toml").write_text(
            f'[engine]\nidle = "yield"\n[network]\nport = "udp"\nlisten = "127.0.0.1"\nbase_port = {port}\n'
            f'[journal]\ndurability = "memory"\n[admin]\nlisten = "127.0.0.1:{admin}"\n[[instrument]]\nsymbol = "AAPL"\n'
            f'[[firm]]\nname = "DEMO"\n[[account]]\nuser = "C00001"\ncount = 8\nfirm = "DEMO"\npassword_hash = "{HASH}"\n'
        )
        engine = subprocess.Popen(
            [BINARIES / "pitlane", "run", "--config", folder / "c.toml"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        cls.addClassCleanup(engine.wait)
        cls.addClassCleanup(engine.kill)
        await_true("the engine", lambda: answers(f"http://127.0.0.1:{admin}/ready"))
        common = ["--target", f"127.0.0.1:{port}", "--password", "demo", "--warmup", "100ms", "--duration", "300ms", "--quiet"]
        commands = {
            "closed": ["run", "--clients", "4", "--window", "8", "--delivery-only", "--label", "closed & <loop>"],
            "open": ["run", "--clients", "2", "--rate", "2000", "--delivery-only", "--require", "p99<1ns"],
            "wrong": ["run", "--clients", "2", "--symbols", "NOWHERE", "--delivery-only"],
            "curve": ["curve", "--clients", "2", "--saturation", "2000", "--trials", "1", "--delivery-only"],
            "scale": ["scale", "--counts", "1,2,4", "--trials", "1", "--delivery-only"],
        }
        files = []
        cls.reports = {}
        for name, words in commands.items():
            files.append(folder / f"{name}.json")
            subprocess.run([BINARIES / "pitlane-loadgen", *words, *common, "--json", files[-1]], stdout=subprocess.DEVNULL, check=False)
            cls.reports[name] = json.loads(files[-1].read_text())
        page = folder / "page.html"
        subprocess.run([BINARIES / "pitlane-loadgen", "report", *files, "--html", page], stdout=subprocess.DEVNULL, check=True)
        cls.browser = Browser(folder / "browser")
        cls.addClassCleanup(cls.browser.close)
        cls.browser.post("/url", {"url": page.as_uri()})

    def test_it_is_rendered_without_an_error_in_the_console(self):
        log = self.browser.post("/se/log", {"type": "browser"})
        self.assertEqual([entry for entry in log if entry["level"] in ("SEVERE", "WARNING")], [])
        charts = self.browser.script("return [...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect().height)")
        self.assertGreaterEqual(len(charts), 3 + 3 + 2)
        self.assertTrue(all(height > 80 for height in charts), charts)
        hovered = self.browser.script("return document.querySelectorAll('svg title').length")
        self.assertGreater(hovered, 50, "values to hover over")

    def test_verdicts_come_first(self):
        top = self.browser.script(
            "const s = [...document.querySelectorAll('.verdict')]; const c = document.querySelector('svg').getBoundingClientRect().top;"
            "return s.map(e => [e.innerText, e.getBoundingClientRect().top < c])"
        )
        self.assertTrue(all(above for _, above in top))
        texts = [text for text, _ in top]
        self.assertTrue(any(text.startswith("INVALID") and "100.00% of the orders were rejected" in text for text in texts), texts)
        self.assertTrue(any(text.startswith("VALID") and "required p99<1ns: MISSED" in text for text in texts), texts)

    def test_it_fits_a_wide_and_a_narrow_screen(self):
        for width, height in ((1280, 900), (390, 844)):
            with self.subTest(width=width):
                self.browser.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500)
                over = self.browser.script(
                    f"return [...document.querySelectorAll('body *')].filter(e => !e.closest('.wide, pre') && e.getBoundingClientRect().right > {width} + 1)"
                    ".map(e => e.tagName + '.' + e.className + ': ' + e.textContent.slice(0, 60))"
                )
                self.assertEqual(over, [], "elements reach beyond the screen")
                self.assertEqual(self.browser.script("return window.innerWidth"), width)
                wide = self.browser.script("return document.documentElement.scrollWidth")
                self.assertLessEqual(wide, width, "the page itself does not scroll sideways")
                # What is wider than the screen scrolls in its own frame; nothing is cut.
                cut = self.browser.script(
                    "return [...document.querySelectorAll('table, pre')].filter(e => { const f = e.closest('.wide') || e;"
                    "return e.scrollWidth > f.clientWidth + 1 && getComputedStyle(f).overflowX != 'auto' }).length"
                )
                self.assertEqual(cut, 0)
        self.browser.devtools("Emulation.setDeviceMetricsOverride", width=1280, height=900, deviceScaleFactor=1, mobile=False)
        # At 1280 pixels the percentiles are all to be seen.
        hidden = self.browser.script(
            "return [...document.querySelectorAll('th')].filter(e => e.getBoundingClientRect().right > innerWidth).map(e => e.innerText)"
        )
        self.assertEqual(hidden, [])

    def test_ink_stands_out_from_paper_in_dark_and_in_light(self):
        papers = []
        for scheme in ("light", "dark"):
            self.browser.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            ink, paper = self.browser.script("const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]")
            self.assertGreaterEqual(contrast(ink, paper), 7.0, scheme)
            papers.append(paper)
        self.assertNotEqual(*papers)

    def test_every_figure_of_the_reports_is_on_the_page(self):
        text = self.browser.script("return document.documentElement.textContent")
        words = set(re.split(r"\s+", text)) | set(self.browser.script("return [...document.querySelectorAll('dd')].map(e => e.textContent)"))
        # As many digits as a program that read the file and wrote it again keeps.
        digits = "{:.12g}".format
        numbers = set()
        for word in words:
            try:
                numbers.add(digits(float(word)))
            except ValueError:
                pass
        for name, report in self.reports.items():
            for leaf in leaves(report):
                with self.subTest(report=name, leaf=str(leaf)[:60]):
                    if isinstance(leaf, bool):
                        self.assertIn(str(leaf).lower(), words)
                    elif isinstance(leaf, str):
                        self.assertIn(leaf, text)
                    else:
                        self.assertTrue(digits(leaf) in numbers, leaf)


def contrast(one, other):
    """The ratio that WCAG speaks of, of two colours as browsers write them."""

    def luminance(color):
        channels = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


if __name__ == "__main__":
    unittest.main()
