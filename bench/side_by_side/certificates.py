"""Certificates of one run, made by `bilico certs` in its directory before anything is measured."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .bench import Bench
from .processes import run

# The balancer's name in the cluster, HAProxy's too.
BALANCER = "b1"


@dataclass(frozen=True)
class Certificates:
    """Those of one cluster, under the names that `bilico certs` gives the files."""

    directory: Path

    @property
    def ca(self) -> Path:
        return self.directory / "ca.pem"

    @property
    def trust(self) -> list[Any]:
        """For a client of ours: the balancer must prove who it is, and everything goes over TLS."""
        return ["--ca", self.ca]

    def member(self, role: str, name: str) -> list[Any]:
        """For a balancer or a server: it talks to its cluster over TLS alone."""
        cert, key = self.files(role, name)
        return ["--cluster-ca", self.ca, "--cluster-cert", cert, "--cluster-key", key]

    def balancer(self) -> list[Any]:
        """For a balancer: both legs over TLS alone."""
        cert, key = self.files("balancer", BALANCER)
        return [*self.member("balancer", BALANCER), "--tls", "required", "--tls-cert", cert, "--tls-key", key]

    def files(self, role: str, name: str) -> tuple[Path, Path]:
        """A certificate and its key."""
        stem = self.directory / f"{role}-{name}"
        return stem.with_suffix(".pem"), stem.with_suffix(".key")

    def in_one_file(self, role: str, name: str) -> Path:
        """A certificate and its key in one file, which is how HAProxy reads them."""
        both = self.directory / "in-one-file"
        both.touch(mode=0o600)
        both.write_text("".join(part.read_text() for part in self.files(role, name)))
        return both


def make(bench: Bench, servers: Iterable[str] = ()) -> Certificates:
    """An authority of this run's own, and certificates for a balancer and these servers on this machine."""
    made = Certificates(bench.directory / "tls")
    orders = [["init"], ["issue", "balancer", BALANCER], *(["issue", "server", name] for name in servers)]
    for order in orders:
        command = [bench.tool("bilico"), "certs", *order, "--dir", made.directory]
        run("-".join(["certs", *order]), command, bench.directory, 30)
    return made
