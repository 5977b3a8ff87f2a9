"""As much of Bilico's native protocol as it takes to ask a balancer how it is, and to be an idle client.

docs/protocol.md has every byte.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
from pathlib import Path
from typing import Any

_PREFACE = b"\xb1ILICO\x00\x01"
# What the protocol is called within TLS.
_NAME = "bilico/1"
_LENGTHS = struct.Struct(">IQ")


def frame(header: dict[str, Any]) -> bytes:
    """A frame without content."""
    text = json.dumps(header, separators=(",", ":")).encode()
    return _LENGTHS.pack(len(text), 0) + text


def connect(address: str, timeout: float = 10, ca: Path | None = None) -> socket.socket:
    """A client that has said hello and was greeted; over TLS if there is an authority to trust."""
    host, _, port = address.rpartition(":")
    stream = socket.create_connection((host, int(port)), timeout)
    try:
        if ca:
            stream = _trusting(ca).wrap_socket(stream, server_hostname=host)
        stream.sendall(_PREFACE + frame({"request_type": "hello", "role": "client"}))
        _exactly(stream, len(_PREFACE))
        _read_frame(stream)
    except BaseException:
        stream.close()
        raise
    return stream


def _trusting(ca: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([_NAME])
    context.load_verify_locations(ca)
    return context


def status(address: str, ca: Path | None = None) -> dict[str, Any]:
    """The status report of a balancer."""
    with connect(address, ca=ca) as stream:
        stream.sendall(frame({"request_type": "status"}))
        report: dict[str, Any] = json.loads(_read_frame(stream)[1])
        return report


def _read_frame(stream: socket.socket) -> tuple[dict[str, Any], bytes]:
    header_length, content_length = _LENGTHS.unpack(_exactly(stream, _LENGTHS.size))
    header = json.loads(_exactly(stream, header_length))
    content = _exactly(stream, content_length)
    if content:
        _exactly(stream, 4)
    return header, content


def _exactly(stream: socket.socket, length: int) -> bytes:
    parts = []
    while length:
        part = stream.recv(length)
        if not part:
            raise ConnectionError("the connection ended in the middle of a frame")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
