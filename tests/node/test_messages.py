"""Messages between launcher and workers."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from dpam_hpc.align.iterate import TemplateResult
from dpam_hpc.node.messages import receive, send
from dpam_hpc.node.work import Done, Place, Prewarm, Setup, Unit

PLACE = Place(Path("/scratch/dh-0"), {"dali_home": "/opt"}, Path("/scratch/t.bundle"))


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a socket."""
    one, other = socket.socketpair()
    with one, other:
        yield one, other


@pytest.mark.parametrize(
    "message",
    [
        Setup(3, "dali:Aligner", Path("/data")),
        Unit(PLACE, "P1", ("e1", "e2")),
        Prewarm(PLACE, ()),
        Done([TemplateResult("e1", ["a\n"], ["lost"], "why")], cpu={"puu": 0.5}),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_is_sent_arrives(ends: tuple[socket.socket, socket.socket], message: object) -> None:
    send(ends[0], message)
    send(ends[0], None)
    assert receive(ends[1]) == message
    assert receive(ends[1]) is None


def test_a_message_larger_than_any_buffer_arrives(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    message = bytes(range(256)) * 40_000
    sender = Thread(target=send, args=(ends[0], message))
    sender.start()
    assert receive(ends[1]) == message
    sender.join()


@pytest.mark.parametrize("part", [b"", b"\0\0\0", struct.pack(">Q", 100), b"\0" * 7 + b"\5abc"])
def test_an_end_in_a_message_or_before_it_is_an_end(
    ends: tuple[socket.socket, socket.socket], part: bytes
) -> None:
    ends[0].sendall(part)
    ends[0].close()
    with pytest.raises(EOFError):
        receive(ends[1])


def test_an_end_with_unread_messages_on_the_other_side_is_an_end(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    send(ends[1], "never read")
    ends[0].close()
    with pytest.raises(EOFError):
        receive(ends[1])


def test_sending_to_nobody_is_an_error(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[1].close()
    with pytest.raises(OSError, match="Broken pipe"):
        send(ends[0], "hello")
