"""Order entry over TCP with the SoupBinTCP client of PyPI's nasdaq-protocols, which we did not write."""

import asyncio
import struct
import unittest

import support
from nasdaq_protocols import soup
from pitlane import ouch
from pitlane.session import Session


class Recorder:
    """A nasdaq-protocols session that keeps the sequenced messages it is given."""

    def __init__(self):
        self.messages = []
        self.counts = {}
        self.arrived = asyncio.Event()
        self.closed = asyncio.Event()
        self.session = None

    async def connect(self, port, user, session_id="", sequence=1):
        async def on_message(message):
            if isinstance(message, soup.SequencedData):
                data = bytes(message.data)
                self.messages.append(data)
                self.counts[data[:1]] = self.counts.get(data[:1], 0) + 1
                self.arrived.set()

        async def on_close():
            self.closed.set()

        self.session = await soup.connect_async(
            ("127.0.0.1", port), user, support.PASSWORD, session_id, sequence=sequence,
            on_msg_coro=on_message, on_close_coro=on_close, client_heartbeat_interval=1,
        )  # fmt: skip
        return self

    def send(self, data):
        self.session.send_unseq_data(data)

    async def until(self, letter, count=1, seconds=20):
        """The messages of type `letter`, once there are `count`."""
        async with asyncio.timeout(seconds):
            while self.counts.get(letter, 0) < count:
                self.arrived.clear()
                await self.arrived.wait()
        return [message for message in self.messages if message[:1] == letter]

    async def close(self):
        self.session.initiate_close()
        await asyncio.wait_for(self.closed.wait(), 10)


class Gateway(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        # The test case turns it on, and a log line for every slow step with it.
        asyncio.get_running_loop().set_debug(False)

    async def test_orders_are_entered_executed_and_cancelled(self):
        with support.Engine() as engine:
            buyer = await Recorder().connect(engine.tcp, "C00001")
            seller = await Recorder().connect(engine.tcp, "C00002")
            buyer.send(ouch.enter_order(1, "B", 100, "AAPL", 150_0000, cl_ord_id="first"))
            accepted = (await buyer.until(b"A"))[0]
            self.assertEqual(struct.unpack_from(">I", accepted, 9)[0], 1)
            seller.send(ouch.enter_order(1, "S", 40, "AAPL", 150_0000))
            for side in (buyer, seller):
                executed = (await side.until(b"E"))[0]
                reference, quantity, price = struct.unpack_from(">IIQ", executed, 9)
                self.assertEqual((reference, quantity, price), (1, 40, 150_0000))
            buyer.send(ouch.cancel_order(1))
            cancelled = (await buyer.until(b"C"))[0]
            self.assertEqual(struct.unpack_from(">II", cancelled, 9), (1, 60))
            await buyer.close()
            await seller.close()

    async def test_a_wrong_password_is_rejected(self):
        with support.Engine() as engine:
            with self.assertRaises(ConnectionRefusedError):
                await soup.connect_async(("127.0.0.1", engine.tcp), "C00001", "wrong")

    async def test_a_session_begun_over_udp_goes_on_over_tcp_and_back(self):
        with support.Engine() as engine:
            address = ("127.0.0.1", engine.order)
            first = Session(address, "C00003", support.PASSWORD, timeout=30)
            first.send(ouch.enter_order(1, "B", 10, "MSFT", 150_0000))
            first.idle(0.3)
            over_tcp = await Recorder().connect(engine.tcp, "C00003", sequence=1)
            # The day from its beginning: start of day, and the order entered over UDP.
            await over_tcp.until(b"A")
            self.assertEqual([message[:1] for message in over_tcp.messages], [b"S", b"A"])
            over_tcp.send(ouch.enter_order(2, "B", 10, "MSFT", 149_0000))
            await over_tcp.until(b"A", 2)
            first._socket.close()
            again = Session(address, "C00003", support.PASSWORD, sequence=2, timeout=30)
            answers = []
            for _ in range(20):
                again.idle(0.05)
                while (answer := again.receive(0)) is not None:
                    answers.append(answer)
                if len(answers) >= 2:
                    break
            self.assertEqual(len(answers), 2)
            # The binding moved: the TCP connection has been closed.
            await asyncio.wait_for(over_tcp.closed.wait(), 10)
            again.close()

    async def test_a_reconnecting_client_is_given_what_it_asks_for(self):
        with support.Engine() as engine:
            client = await Recorder().connect(engine.tcp, "C00004")
            for number in range(1, 51):
                client.send(ouch.enter_order(number, "B", 10, "AAPL", 140_0000))
            await client.until(b"A", 50)
            await client.close()
            # Start of day, 50 Accepted, then the 50 orders cancelled with the connection.
            again = await Recorder().connect(engine.tcp, "C00004", sequence=41)
            await again.until(b"C", 50)
            kinds = [message[:1] for message in again.messages]
            self.assertEqual(kinds, [b"A"] * 11 + [b"C"] * 50)
            await again.close()

    async def test_a_drop_copy_sees_the_firms_executions_and_enters_nothing(self):
        with support.Engine() as engine:
            copy = await Recorder().connect(engine.drop_copy, "DROP01")
            with self.assertRaises(ConnectionRefusedError):
                await soup.connect_async(("127.0.0.1", engine.drop_copy), "C00001", support.PASSWORD)
            buyer = await Recorder().connect(engine.tcp, "C00001")
            buyer.send(ouch.enter_order(1, "B", 10, "AAPL", 150_0000))
            await buyer.until(b"A")
            seller = await Recorder().connect(engine.tcp, "C00002")
            seller.send(ouch.enter_order(1, "S", 10, "AAPL", 150_0000))
            copies = await copy.until(b"C", 2)
            self.assertEqual([(one[:6], one[6:7]) for one in copies], [(b"C00002", b"E"), (b"C00001", b"E")])
            copy.send(ouch.enter_order(1, "B", 10, "AAPL", 150_0000))
            await asyncio.sleep(0.3)
            self.assertEqual(len(copy.messages), 3)
            for each in (copy, buyer, seller):
                await each.close()

    async def test_what_the_window_no_longer_holds_comes_from_the_journal(self):
        with support.Engine(durability="process", session="resend_window_bytes = 16384") as engine:
            client = await Recorder().connect(engine.tcp, "C00005")
            count = 1000
            for number in range(1, count + 1):
                client.send(ouch.enter_order(number, "B", 10, "AAPL", 140_0000))
                if number % 50 == 0:
                    # A client that sends more than its window at once is cut off: its answers have nowhere to wait.
                    await client.until(b"A", number, seconds=60)
            await client.close()
            again = await Recorder().connect(engine.tcp, "C00005", sequence=1)
            accepted = await again.until(b"A", count, seconds=60)
            references = [struct.unpack_from(">I", message, 9)[0] for message in accepted]
            self.assertEqual(references, list(range(1, count + 1)))
            await again.close()


if __name__ == "__main__":
    unittest.main()
