#!/usr/bin/env python3
"""Stands in for ethtool on a NIC that a test machine does not have: 8 channels, RSS, ntuple rules, changeable offloads.

Its state is the JSON file named by FAKE_ETHTOOL_STATE. It refuses what such hardware refuses: fewer channels than the
RSS table uses, rules while ntuple is off.
"""

import json
import os
import sys

STATE = os.environ["FAKE_ETHTOOL_STATE"]
TABLE = 16


def main(option, _interface, *words):
    with open(STATE, encoding="ascii") as file:
        nic = json.load(file)
    if option == "-l":
        print("Channel parameters:\nPre-set maximums:\nRX:\t\tn/a\nTX:\t\tn/a\nOther:\t\t1\nCombined:\t8")
        print(f"Current hardware settings:\nRX:\t\tn/a\nTX:\t\tn/a\nOther:\t\t1\nCombined:\t{nic['channels']}")
    elif option == "-L":
        count = int(words[1])
        if nic["custom_rss"] and max(nic["rss"]) >= count:
            sys.exit("netlink error: requested channel counts are too low for existing indirection table settings")
        nic["channels"] = count
        if not nic["custom_rss"]:
            nic["rss"] = [slot % count for slot in range(TABLE)]
    elif option == "-x":
        print(f"RX flow hash indirection table for eth9 with {nic['channels']} RX ring(s):")
        for row in range(0, TABLE, 8):
            print(f"{row:5}:  " + "".join(f"{queue:6}" for queue in nic["rss"][row : row + 8]))
        print("RSS hash key:\n6d:5a\nRSS hash function:\n    toeplitz: on")
    elif option == "-X":
        nic["custom_rss"] = words[0] != "default"
        first, count = (int(words[1]), int(words[3])) if nic["custom_rss"] else (0, nic["channels"])
        nic["rss"] = [first + slot % count for slot in range(TABLE)]
    elif option == "-k":
        print("Features for eth9:")
        for name, value in nic["features"].items():
            print(f"{name}: {value}")
    elif option == "-K":
        name = {"ntuple": "ntuple-filters"}.get(words[0], words[0])
        if "fixed" in nic["features"][name]:
            sys.exit(f"Actual changes: none: {name} is fixed")
        nic["features"][name] = words[1]
    elif option == "-n":
        print(f"{nic['channels']} RX rings available\nTotal {len(nic['rules'])} rules\n")
        for number, (family, port, queue) in nic["rules"].items():
            version = "IPv4" if family == "udp4" else "IPv6"
            print(f"Filter: {number}\n\tRule Type: UDP over {version}\n\tDest port: {port} mask: 0x0")
            print(f"\tAction: Direct to queue {queue}\n")
    elif option == "-N" and words[0] == "delete":
        del nic["rules"][words[1]]
    elif option == "-N":
        if nic["features"]["ntuple-filters"] != "on":
            sys.exit("rmgr: Cannot insert RX class rule: Operation not supported")
        number = str(1023 - len(nic["rules"]))
        nic["rules"][number] = [words[1], int(words[3]), int(words[5])]
        print(f"Added rule with ID {number}")
    else:
        sys.exit(f"fake ethtool: {option} {words}")
    with open(STATE, "w", encoding="ascii") as file:
        json.dump(nic, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
