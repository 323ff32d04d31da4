"""Ports of tests: others than those that are chosen by ``fustor up``, and of each test its own."""

from __future__ import annotations

import random
import socket


def free_ports(count: int) -> int:
    """
    The first of ``count`` consecutive ports that are free on loopback now.

    Below the ports that the kernel gives to clients (ip(7), ip_local_port_range): a client that asks again and again
    for a port of that range where nobody listens yet is connected to itself one day, and then has the port.
    """
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        first_of_clients = int(file.read().split()[0])
    while True:
        port = random.randrange(10_000, max(first_of_clients, 20_000) - count)
        try:
            for offset in range(count):
                with socket.socket() as one:
                    one.bind(("127.0.0.1", port + offset))
        except OSError:
            continue
        return port
