"""Ten client processes, each sending one order after the other: the classic load test of a trading back end.

Each process is a session of its own that enters an order, waits for the answer and enters the next. Prints orders/s of
every client and the latency over all. Measures Python as much as the engine: `pitlane-loadgen` measures the engine.

    pitlane-loadtest --address 127.0.0.1:9000 --user CLI --password secret --clients 10 --seconds 10

Client number k (from 0) logs in as USER with two digits of k appended: CLI00, CLI01, ...
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import time

from . import NoAnswer, Session, ouch


def client(number, arguments, start, results):
    """One process: orders one after the other until the time is up; puts (number, latencies in ns, failures)."""
    host, _, port = arguments.address.rpartition(":")
    latencies, failures, error = [], 0, None
    try:
        with Session((host.strip("[]"), int(port)), f"{arguments.user}{number:02d}", arguments.password, sequence=0) as session:
            user_ref_num = _next_user_ref_num(session)
            start.wait()
            until = time.perf_counter() + arguments.seconds
            while (now := time.perf_counter()) < until:
                # Buys below and sells above the middle: the orders rest, so each has exactly one answer.
                side, price = (("B", 99_0000), ("S", 101_0000))[user_ref_num % 2]
                began = time.perf_counter_ns()
                session.send(
                    ouch.enter_order(user_ref_num, side, 100, arguments.symbol, price),
                    ouch.cancel_order(user_ref_num),
                )
                answer = _answer_to(session, user_ref_num, now + 2.0)
                if answer == "A":
                    latencies.append(time.perf_counter_ns() - began)
                else:
                    failures += 1
                user_ref_num += 1
    except Exception as problem:  # reported by the parent, which knows what to do about it
        error = f"{type(problem).__name__}: {problem}"
        start.abort()
    results.put((number, latencies, failures, error))


def _next_user_ref_num(session):
    session.send(ouch.account_query())
    while (raw := session.receive(2.0)) is not None:
        message = ouch.decode(raw)
        if message.type == "Q":
            return message.next_user_ref_num
    raise NoAnswer("no answer to the account query")


def _answer_to(session, user_ref_num, deadline):
    """The type of the first answer about this order: 'A' or 'J'; None when there is none in time."""
    while (left := deadline - time.perf_counter()) > 0:
        raw = session.receive(left)
        if raw is None:
            return None
        message = ouch.decode(raw)
        if message.type in "AJ" and message.user_ref_num == user_ref_num:
            return message.type
    return None


def report(per_client, seconds):
    """The figures of a run as a dictionary, in nanoseconds and orders per second."""
    latencies = sorted(ns for _, client_latencies, _, _ in per_client for ns in client_latencies)
    failures = sum(failures for _, _, failures, _ in per_client)
    orders = len(latencies) + failures
    out = {
        "clients": len(per_client),
        "orders": orders,
        "answered": len(latencies),
        "success_rate": len(latencies) / orders if orders else 0.0,
        "orders_per_second": len(latencies) / seconds,
        "per_client": [len(client_latencies) / seconds for _, client_latencies, _, _ in sorted(per_client)],
    }
    if latencies:
        out["latency_ns"] = {
            "mean": statistics.fmean(latencies),
            "median": statistics.median(latencies),
            "stdev": statistics.pstdev(latencies),
            "p99": latencies[min(len(latencies) - 1, int(len(latencies) * 0.99))],
            "max": latencies[-1],
        }
    return out


def show(figures):
    """Prints the report as a table."""
    print(f"{figures['clients']} clients, {figures['orders']} orders, {100 * figures['success_rate']:.2f}% answered")
    print(f"{figures['orders_per_second']:,.0f} orders/s; per client " + " ".join(f"{r:,.0f}" for r in figures["per_client"]))
    if "latency_ns" in figures:
        print("latency " + ", ".join(f"{name} {ns / 1000:,.1f} us" for name, ns in figures["latency_ns"].items()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", default="127.0.0.1:9000", help="the engine's order port (default %(default)s)")
    parser.add_argument("--user", default="CLI", help="user name prefix, at most 4 characters (default %(default)s)")
    parser.add_argument("--password", required=True)
    parser.add_argument("--symbol", default="AAPL")
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", metavar="FILE", help="also write the figures here")
    arguments = parser.parse_args()

    start, results = multiprocessing.Barrier(arguments.clients), multiprocessing.Queue()
    processes = [
        multiprocessing.Process(target=client, args=(number, arguments, start, results)) for number in range(arguments.clients)
    ]
    for process in processes:
        process.start()
    per_client = [results.get() for _ in processes]
    for process in processes:
        process.join()

    errors = [f"client {number}: {error}" for number, _, _, error in sorted(per_client) if error]
    if errors:
        sys.exit("\n".join(errors))
    figures = report(per_client, arguments.seconds)
    show(figures)
    if arguments.json:
        with open(arguments.json, "w", encoding="ascii") as file:
            json.dump(figures, file, indent=2)
    if figures["answered"] < figures["orders"]:
        sys.exit(f"{figures['orders'] - figures['answered']} orders were not answered")


if __name__ == "__main__":
    main()
