"""Hosts that are network namespaces of this machine, joined by a bridge; each has a link that can be cut.

Needs root and `ip`. Invariant: everything that is made has a name of this process, and is gone at the end.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


def unavailable() -> str:
    """Why hosts can't be made here, "" if they can."""
    if os.geteuid() != 0:
        return "needs root"
    if shutil.which("ip") is None:
        return "needs the ip command (package iproute2)"
    name = f"spnas{os.getpid() % 10000}"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if tried.returncode:
        return f"network namespaces can't be made: {tried.stderr.strip()}"
    _ip("netns", "del", name)
    return ""


@dataclass(frozen=True)
class Host:
    """One host.

    Attributes:
        name: of its namespace.
        address: its address.
        link: the bridge's end of its link.
    """

    name: str
    address: str
    link: str

    def start(self, command: list[str], log: Path, **environment: str) -> "subprocess.Popen[bytes]":
        """Start a process there, which writes to a log."""
        values = os.environ | {"GLOO_SOCKET_IFNAME": "eth0", "NCCL_SOCKET_IFNAME": "eth0"} | environment
        with log.open("ab") as file:
            return subprocess.Popen(
                ["ip", "netns", "exec", self.name, *command],
                env=values,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def cut(self) -> None:
        """Nothing goes in or out any more; nobody is told."""
        _ip("link", "set", self.link, "down")

    def restore(self) -> None:
        """Mend the link."""
        _ip("link", "set", self.link, "up")


@contextlib.contextmanager
def network(num_hosts: int) -> Iterator[list[Host]]:
    """So many hosts with addresses 10.203.0.1 and so on."""
    suffix = os.getpid() % 10000
    bridge = f"spbr{suffix}"
    hosts = [Host(f"sphost{suffix}-{n}", f"10.203.0.{n}", f"splk{suffix}-{n}") for n in range(1, num_hosts + 1)]
    try:
        _ip("link", "add", "name", bridge, "type", "bridge")
        _ip("link", "set", bridge, "up")
        for host in hosts:
            _ip("netns", "add", host.name)
            _ip("link", "add", host.link, "type", "veth", "peer", "name", "eth0", "netns", host.name)
            _ip("link", "set", host.link, "master", bridge, "up")
            _ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", "eth0")
            _ip("-n", host.name, "link", "set", "eth0", "up")
            _ip("-n", host.name, "link", "set", "lo", "up")
        yield hosts
    finally:
        for host in hosts:
            _ip("netns", "del", host.name, check=False)
            _ip("link", "del", host.link, check=False)
        _ip("link", "del", bridge, check=False)


def _ip(*arguments: str, check: bool = True) -> None:
    subprocess.run(["ip", *arguments], check=check, capture_output=True)
