"""Messages between the launcher and its workers: pickled objects, framed, over a socket."""

from __future__ import annotations

import pickle
import socket
import struct
from typing import Any

_LENGTH = struct.Struct(">Q")


def send(to: socket.socket, message: Any) -> None:
    """Send one object; OSError if the other end is gone."""
    content = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    to.sendall(_LENGTH.pack(len(content)) + content)


def receive(source: socket.socket) -> Any:
    """The next object; EOFError if the other end is gone."""
    (length,) = _LENGTH.unpack(_exactly(source, _LENGTH.size))
    return pickle.loads(_exactly(source, length))


def _exactly(source: socket.socket, length: int) -> bytes:
    parts = bytearray()
    while len(parts) < length:
        try:
            part = source.recv(min(length - len(parts), 1 << 20))
        except ConnectionError:
            part = b""
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)
