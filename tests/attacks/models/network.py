# mypy: ignore-errors
"""Attacks over sockets. The harness listens, and looks at what has arrived."""

from __future__ import annotations

import os
import socket
from typing import Any

import native

Victims = dict[str, Any]
WAIT = 5.0  # seconds: a hang guard


def _send(family: int, kind: int, address: Any, text: str, protocol: int = 0) -> bool:
    with socket.socket(family, kind, protocol) as sock:
        sock.settimeout(WAIT)
        if kind == socket.SOCK_STREAM:
            sock.connect(address)
            sock.sendall(text.encode())
        else:
            sock.sendto(text.encode(), address)
    return True


def tcp(victims: Victims, _: Any) -> bool:
    return _send(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", victims["tcp"]), "tcp")


def tcp_listen(victims: Victims, _: Any) -> bool:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
    return True


def udp(victims: Victims, _: Any) -> bool:
    return _send(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", victims["udp"]), "udp")


def mptcp(victims: Victims, _: Any) -> bool:
    return _send(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", victims["tcp"]), "mptcp", 262)


def unix_path(victims: Victims, _: Any) -> bool:
    return _send(socket.AF_UNIX, socket.SOCK_STREAM, victims["unix"], "unix_path")


def unix_abstract(victims: Victims, _: Any) -> bool:
    return _send(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + victims["abstract"], "unix_abstract")


def unix_datagram(victims: Victims, _: Any) -> bool:
    return _send(socket.AF_UNIX, socket.SOCK_DGRAM, victims["datagram"], "unix_datagram")


def datagram_from_a_pair(victims: Victims, _: Any) -> bool:
    """A pair needs no socket(2), and may send to any path."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other:
        one.sendto(b"datagram_from_a_pair", victims["datagram"])
    return True


def inherited_descriptor(victims: Victims, _: Any) -> bool:
    """By each socket that it was born with, to an address."""
    sent = False
    for number in native.descriptors():
        try:
            with socket.socket(fileno=os.dup(number)) as sock:
                sent = sock.sendto(b"inherited_descriptor", victims["datagram"]) > 0 or sent
        except OSError:
            continue
    return sent


def netlink(victims: Victims, _: Any) -> bool:
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close()
    return True


def packet(victims: Victims, _: Any) -> bool:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    return True


def vsock(victims: Victims, _: Any) -> bool:
    socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close()
    return True


ATTACKS = {
    one.__name__: one
    for one in (
        tcp, tcp_listen, udp, mptcp, unix_path, unix_abstract, unix_datagram, datagram_from_a_pair,
        inherited_descriptor, netlink, packet, vsock,
    )
}  # fmt: skip
