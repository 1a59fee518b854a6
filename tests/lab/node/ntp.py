#!/usr/bin/env python3
"""ntp.py BIND RULES - a small NTP server; real chronyd in the nodes measures against it.

RULES is a file of lines "IP SECONDS" (that node's clock looks wrong by that much), "IP unsync" (stratum 16) or
"IP silent" (no answer); read at every request.
"""
import socket
import struct
import sys
import time

bind, rules_file = sys.argv[1:3]
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind((bind, 123))


def rules():
    try:
        with open(rules_file) as f:
            return dict(line.split() for line in f if line.strip())
    except (OSError, ValueError):
        return {}


def stamp(t):
    return struct.pack("!II", int(t) + 2208988800, int((t % 1) * 2**32))


while True:
    request, peer = sock.recvfrom(256)
    received = time.time()
    rule = rules().get(peer[0], "0")
    if rule == "silent" or len(request) < 48:
        continue
    offset = 0.0 if rule == "unsync" else float(rule)
    leap, stratum = (3, 16) if rule == "unsync" else (0, 2)
    answer = struct.pack("!BBbbII4s", leap << 6 | 4 << 3 | 4, stratum, request[2], -20, 0x10, 0x10, b"\x7f\x7f\x01\x01")
    answer += stamp(received + offset - 1) + request[40:48] + stamp(received + offset) + stamp(time.time() + offset)
    sock.sendto(answer, peer)
