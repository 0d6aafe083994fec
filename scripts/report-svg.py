#!/usr/bin/env python3
"""Draws one load generator report as the picture of the README: `report-svg.py target/demo/report.json docs/demo.svg`.

Not a report: `pitlane-loadgen report --html` makes one with every figure.
"""

import json
import math
import sys
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 860, 390
INK, FAINT, BAR, GRID = "#1f2933", "#7b8794", "#2f6f9f", "#e4e7eb"


def text(x, y, words, size=13, fill=INK, anchor="start", weight="normal"):
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}" text-anchor="{anchor}" '
        f'font-weight="{weight}">{escape(words)}</text>'
    )


def time(ns):
    """Nanoseconds for people."""
    for limit, unit in ((1e3, "ns"), (1e6, "us"), (1e9, "ms")):
        if ns < limit:
            return f"{ns / (limit / 1e3):.3g} {unit}"
    return f"{ns / 1e9:.3g} s"


def bars(x, y, width, height, rows, title):
    """Horizontal bars: rows of (label, value, words at the end of the bar)."""
    out = [text(x, y, title, 14, weight="bold")]
    step = height / len(rows)
    longest = max(value for _, value, _ in rows)
    for index, (label, value, words) in enumerate(rows):
        top = y + 14 + index * step
        length = max(1.0, (width - 150) * value / longest)
        out.append(text(x + 44, top + step * 0.62, label, 12, FAINT, "end"))
        out.append(f'<rect x="{x + 52}" y="{top + 3:.1f}" width="{length:.1f}" height="{step - 6:.1f}" rx="2" fill="{BAR}"/>')
        out.append(text(x + 58 + length, top + step * 0.62, words, 12))
    return out


def draw(report):
    latency = report["latency_ns"]
    clients = [(f"{index + 1}", rate, f"{rate:,.0f}") for index, rate in enumerate(report["per_client"])]
    names = (("median", "p50"), ("p90", "p90"), ("p99", "p99"), ("p99_9", "p99.9"), ("p99_99", "p99.99"), ("max", "max"))
    # The bars of times that differ by a thousand times are as long as their logarithm.
    floor = math.log10(max(1, latency["median"])) - 0.4
    times = [(label, math.log10(max(1, latency[key])) - floor, time(latency[key])) for key, label in names]
    port = {"udp": "kernel UDP, loopback", "xdp": "AF_XDP, veth"}.get(report["port"], report["port"])
    body = [
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        text(28, 44, f"{report['orders_per_second']:,.0f} orders/s", 30, weight="bold"),
        text(28, 68, f"{report['clients']} clients, {port}, {report['orders']:,} orders: {report['success_rate']:.2%} answered, "
             f"{report['lost']} lost, {report['duplicated']} doubled", 13, FAINT),
        f'<line x1="28" y1="84" x2="{WIDTH - 28}" y2="84" stroke="{GRID}"/>',
        *bars(28, 110, 400, 250, clients, "orders/s of each client"),
        *bars(450, 110, 390, 250, times, "order to answer (log scale)"),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="DejaVu Sans, Verdana, sans-serif">\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__.splitlines()[0])
    with open(sys.argv[1], encoding="utf-8") as file:
        report = json.load(file)
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write(draw(report))


if __name__ == "__main__":
    main()
