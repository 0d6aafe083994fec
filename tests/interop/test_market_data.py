"""The feed read by other people's parsers: PyPI's itchfeed and meatpy, nasdaq-protocols for snapshots, tshark for the wire."""

import asyncio
import datetime
import shutil
import socket
import struct
import subprocess
import threading
import time
import unittest

import support
from itch.parser import MessageParser
from meatpy.itch50 import ITCH50MarketProcessor, ITCH50MessageReader
from nasdaq_protocols import soup
from pitlane import ouch
from pitlane.session import Session


async def soup_messages(port, *, sequence=1, until):
    """Sequenced messages of a service, up to the one that `until` says is the last."""
    messages, done = [], asyncio.Event()

    async def on_message(message):
        if isinstance(message, soup.SequencedData) and not done.is_set():
            messages.append(bytes(message.data))
            if until(messages):
                done.set()

    session = await soup.connect_async(
        ("127.0.0.1", port), "C00016", support.PASSWORD, sequence=sequence, on_msg_coro=on_message
    )
    await asyncio.wait_for(done.wait(), 60)
    session.initiate_close()
    return messages


def snapshot(engine):
    """A GLIMPSE snapshot: its messages, and the sequence to go on from."""
    messages = asyncio.run(soup_messages(engine.glimpse, until=lambda got: got[-1][:1] == b"G"))
    return messages[:-1], int(messages[-1][1:])


def levels(messages, symbol):
    """(bids, offers) of a snapshot: price -> shares."""
    bids, offers = {}, {}
    for message in messages:
        if message[:1] in b"AF":
            side, shares, stock, price = struct.unpack_from(">cI8sI", message, 19)
            if stock.decode().strip() == symbol:
                book = bids if side == b"B" else offers
                book[price] = book.get(price, 0) + shares
    return bids, offers


def read_frames(path):
    """The messages of a recording; it ends with a whole one."""
    data, frames, at = path.read_bytes(), [], 0
    while at < len(data):
        length = struct.unpack_from(">H", data, at)[0]
        frames.append(data[at + 2 : at + 2 + length])
        at += 2 + length
    assert at == len(data), "the last message is cut"
    return frames


def record(engine, path, *more):
    """Starts `pitlane feed` recording to `path` until the session ends."""
    process = subprocess.Popen(
        engine.feed_command("--record", str(path), *more), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    time.sleep(0.5)
    return process


class Recorded(unittest.TestCase):
    def test_itchfeed_and_meatpy_read_a_recorded_feed_to_the_last_byte_and_rebuild_the_books(self):
        with support.Engine() as engine:
            path = engine.path / "feed.itch"
            process = record(engine, path)
            # While orders come: the sequence of the snapshot has to be exact, not only the last one.
            trading = threading.Thread(target=support.trade, args=(engine,), kwargs={"users": 3, "orders": 20_000})
            trading.start()
            time.sleep(1)
            body, following = snapshot(engine)
            trading.join()
            time.sleep(0.5)
            self.assertGreater(len([m for m in body if m[:1] in b"AF"]), 10, "a book to compare")
            # The recording ends with the session; what comes after the snapshot is cut off below.
            engine.stop()
            output, _ = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 0, output)
            with open(path, "rb") as file:
                parsed = list(MessageParser().parse_file(file))
            frames = read_frames(path)
            self.assertGreater(len(frames), following + 100, "the snapshot is from the middle of the run")
            self.assertEqual(len(parsed), len(frames), "itchfeed reads every message")
            positions = [message for message in parsed if message.message_type == b"L"]
            self.assertEqual(
                [(p.mpid, p.stock, p.primary_market_maker, p.market_participant_state) for p in positions],
                [(b"DEMO", b"AAPL    ", b"N", b"A"), (b"DEMO", b"MSFT    ", b"Y", b"A")],
            )
            self.assertEqual([m for m in body if m[:1] == b"L"], [f for f in frames if f[:1] == b"L"])
            for frame, message in zip(frames, parsed):
                self.assertEqual(message.message_type, frame[:1])
            cut = path.with_suffix(".cut")
            cut.write_bytes(b"".join(struct.pack(">H", len(f)) + f for f in frames[: following - 1]))
            for symbol in support.SYMBOLS:
                processor = ITCH50MarketProcessor(symbol, datetime.datetime(2025, 1, 1))
                count = 0
                for message in ITCH50MessageReader().read_file(cut):
                    processor.process_message(message)
                    count += 1
                self.assertEqual(count, following - 1, "meatpy reads every message")
                lob = processor.current_lob
                rebuilt = tuple(
                    {level.price: level.volume for level in side} for side in (lob.bid_levels, lob.ask_levels)
                )
                self.assertEqual(rebuilt, levels(body, symbol), symbol)

    def test_hidden_orders_and_reserves_never_show_in_the_feed_nor_in_a_snapshot(self):
        hidden_price, reserve_price, floor = 1_390_000, 1_380_000, 10
        with support.Engine() as engine:
            path = engine.path / "feed.itch"
            process = record(engine, path)
            buyer, seller = (Session(("127.0.0.1", engine.order), f"C0000{n}", support.PASSWORD, timeout=30) for n in (1, 2))
            buyer.send(ouch.enter_order(1, "B", 70, "AAPL", hidden_price, display="N"))
            buyer.send(ouch.enter_order(2, "B", 1000, "AAPL", reserve_price, max_floor=floor))
            buyer.idle(0.3)
            seller.send(ouch.enter_order(1, "S", 30, "AAPL", hidden_price, time_in_force="3"))
            seller.idle(0.3)
            body, _ = snapshot(engine)
            bids, _ = levels(body, "AAPL")
            self.assertEqual(bids, {reserve_price: floor}, "40 hidden and 990 of the reserve are not in the snapshot")
            # Through what is hidden, and through two of the reserve's displayed parts into a third.
            seller.send(ouch.enter_order(2, "S", 40 + 25, "AAPL", reserve_price, time_in_force="3"))
            seller.idle(0.3)
            body, _ = snapshot(engine)
            bids, _ = levels(body, "AAPL")
            self.assertEqual(list(bids), [reserve_price])
            self.assertLessEqual(bids[reserve_price], floor)
            for each in (buyer, seller):
                each.close()
            engine.stop()
            output, _ = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 0, output)
            frames = read_frames(path)
            added = {}
            for frame in frames:
                if frame[:1] in b"AF":
                    reference, _, shares, _, price = struct.unpack_from(">QcI8sI", frame, 11)
                    self.assertEqual(price, reserve_price, "a hidden order is shown")
                    self.assertLessEqual(shares, floor, "the reserve is shown")
                    added[reference] = shares
            self.assertGreaterEqual(len(added), 3, "the displayed part was refreshed")
            executed = [struct.unpack_from(">QI", frame, 11) for frame in frames if frame[:1] == b"E"]
            self.assertEqual(sum(shares for _, shares in executed), 25)
            for reference, shares in executed:
                self.assertLessEqual(shares, added[reference], "more is executed than was shown")
            trades = [struct.unpack_from(">QcI8sI", frame, 11) for frame in frames if frame[:1] == b"P"]
            told = [(reference, shares, price) for reference, _, shares, _, price in trades]
            self.assertEqual(told, [(0, 30, hidden_price), (0, 40, hidden_price)])
            self.assertFalse([frame for frame in frames if frame[:1] in b"CU"])

    def test_a_receiver_that_loses_datagrams_ends_with_the_books_of_the_snapshot(self):
        with support.Engine() as engine:
            process = record(engine, engine.path / "feed.itch", "--lose", "10", "--duration", "8", "--compare")
            support.trade(engine, users=2, orders=1500)
            output, _ = process.communicate(timeout=90)
            self.assertEqual(process.returncode, 0, output)
            self.assertIn("books agree", output)
            support.close_sessions(engine)

    def test_a_receiver_may_start_with_a_snapshot(self):
        with support.Engine() as engine:
            support.trade(engine, users=2, orders=400)
            more = ["--from-snapshot", "--duration", "3", "--compare"]
            process = record(engine, engine.path / "feed.itch", *more)
            support.close_sessions(engine)
            output, _ = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 0, output)
            self.assertIn("books agree", output)

    def test_the_whole_feed_is_replayed_over_soupbintcp_from_any_sequence(self):
        with support.Engine(durability="process", window_bytes=65536) as engine:
            support.trade(engine, users=2, orders=3000)
            time.sleep(0.5)
            _, following = snapshot(engine)
            whole = asyncio.run(soup_messages(engine.replay, until=lambda got: len(got) == following - 1))
            self.assertEqual(whole[0][:1], b"S", "the first message of the day, which no window has any more")
            tail = asyncio.run(
                soup_messages(engine.replay, sequence=following - 100, until=lambda got: len(got) == 100)
            )
            self.assertEqual(tail, whole[-100:])
            # The same from the request server: one datagram for each request, also of what only the journal has.
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
                asker.settimeout(30)
                session = asyncio.run(feed_session(engine))
                for first in (1, following - 5):
                    asker.sendto(struct.pack(">10sQH", session, first, 5), ("127.0.0.1", engine.requests))
                    answer = asker.recv(2000)
                    name, sequence, count = struct.unpack_from(">10sQH", answer)
                    self.assertEqual((name, sequence), (session, first))
                    self.assertGreater(count, 0)
                    length = struct.unpack_from(">H", answer, 20)[0]
                    self.assertEqual(answer[22 : 22 + length], whole[first - 1])
            support.close_sessions(engine)

    def test_after_a_crash_the_feed_goes_on_and_its_past_is_there(self):
        with support.Engine(durability="process") as engine:
            support.trade(engine, users=2, orders=300)
            time.sleep(0.3)
            _, before = snapshot(engine)
            engine.crash()
            engine.start()
            body, following = snapshot(engine)
            self.assertGreaterEqual(following, before)
            whole = asyncio.run(soup_messages(engine.replay, until=lambda got: len(got) >= before - 1))
            self.assertEqual(whole[0][:1], b"S")
            self.assertTrue(any(m[:1] in b"AF" for m in body), "the books are there before anyone trades")


async def feed_session(engine):
    """Name of the feed's session, from a login to its replay."""
    session = await soup.connect_async(("127.0.0.1", engine.replay), "C00016", support.PASSWORD, sequence=0)
    name = session.session_id.session
    session.initiate_close()
    return name.strip().encode()


@unittest.skipUnless(shutil.which("tshark"), "no tshark")
class Dissected(unittest.TestCase):
    """Captures of the loopback, read by tshark's own dissectors and by ours."""

    def capture(self, engine, busy):
        path = engine.path / "capture.pcapng"
        ports = [engine.order, engine.tcp, engine.feed, engine.requests, engine.glimpse]
        expression = " or ".join(f"port {port}" for port in ports)
        command = ["tshark", "-q", "-i", "lo", "-f", expression, "-w", str(path)]
        tshark = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 20
        while not (path.exists() and path.stat().st_size > 0):
            if tshark.poll() is not None or time.monotonic() > deadline:
                tshark.kill()
                self.skipTest(f"tshark cannot capture here: {tshark.stderr.read()[-300:]}")
            time.sleep(0.1)
        time.sleep(1)
        busy()
        time.sleep(1)
        tshark.terminate()
        tshark.communicate(timeout=30)
        return path

    def read(self, path, *more):
        output = subprocess.run(["tshark", "-r", str(path), *more], capture_output=True, text=True, timeout=120)
        self.assertEqual(output.returncode, 0, output.stderr)
        return output.stdout.splitlines()

    def test_tsharks_own_dissectors_find_nothing_malformed(self):
        async def over_tcp(engine):
            session = await soup.connect_async(("127.0.0.1", engine.tcp), "C00005", support.PASSWORD)
            for number in range(1, 101):
                session.send_unseq_data(ouch.enter_order(number, "B", 10, "AAPL", 140_0000))
            await asyncio.sleep(1)
            session.initiate_close()

        with support.Engine(network="udp_offload = false") as engine:

            def busy():
                support.trade(engine, users=2, orders=500)
                asyncio.run(over_tcp(engine))
                snapshot(engine)

            path = self.capture(engine, busy)
            support.close_sessions(engine)
            udp = [f"-d udp.port=={port},moldudp64" for port in (engine.order, engine.feed, engine.requests)]
            tcp = [f"-d tcp.port=={port},soupbintcp" for port in (engine.tcp, engine.glimpse)]
            decode = [word for each in udp + tcp for word in each.split(" ", 1)]
            counted = {"moldudp64": "moldudp64.msglen", "soupbintcp": "soupbintcp.packet_type"}
            for protocol, field in counted.items():
                rows = self.read(path, *decode, "-Y", protocol, "-T", "fields", "-e", field)
                self.assertGreater(sum(len(row.split(",")) for row in rows if row), 200, protocol)
            malformed = self.read(path, *decode, "-Y", '_ws.malformed || _ws.expert.severity == "Error"')
            # tshark takes the blanks in front of a login's sequence number, which the specification asks for, for an error.
            malformed = [row for row in malformed if not row.endswith("SoupBinTCP 115 Login Request")]
            self.assertEqual(malformed, [])

    def test_our_dissector_names_every_message_and_finds_nothing_malformed(self):
        with support.Engine(network="udp_offload = false") as engine:
            path = self.capture(engine, lambda: support.trade(engine, users=2, orders=300))
            support.close_sessions(engine)
            script = support.ROOT / "deploy" / "wireshark" / "pitlane.lua"
            ours = ["-X", f"lua_script:{script}", "-o", f"pitlane.ports:{engine.order}"]
            fields = ["-T", "fields", "-e", "pitlane.kind", "-e", "pitlane.message.name", "-e", "pitlane.control"]
            rows = self.read(path, *ours, "-Y", "pitlane", *fields)
            text = "\n".join(rows)
            self.assertGreater(len(rows), 300)
            for name in ("Enter Order", "Order Accepted", "Order Executed", "Login Request", "Login Accepted"):
                self.assertIn(name, text)
            self.assertEqual(self.read(path, *ours, "-Y", "pitlane.malformed || _ws.malformed"), [])
            symbols = self.read(path, *ours, "-Y", "pitlane.message.type == O", "-T", "fields", "-e", "pitlane.ouch.symbol")
            self.assertTrue(any("AAPL" in row for row in symbols))
            # The password is in the datagram, and nowhere in what is shown.
            logins = self.read(path, *ours, "-Y", 'pitlane.control == "Login Request"', "-V", "-O", "pitlane")
            self.assertNotIn(support.PASSWORD, "\n".join(logins))


if __name__ == "__main__":
    unittest.main()
