"""The program that measures a folder: ``python -IS operations.py ORDER``, ORDER and answer JSON.

A process of its own, so that one that hangs in a file system can be killed, with all that it has
forked. It imports the standard library alone, and starts in a few milliseconds.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count, islice
from typing import Any

SMALL = b"x" * 4096
BLOCK = b"\0" * (1 << 20)
MOST_SAMPLES = 500
MOST_TIMED = 2000
"""Of each of many processes: the latencies of so many operations are told, all are counted."""
MOST_FILES = 200
"""Of a folder that is only read: so many of its files are looked at."""


def latencies(folder: str, seconds: float, is_read_only: bool) -> dict[str, list[float]]:
    """Seconds of each operation, by kind; a file is small, and not in this machine's memory."""
    kinds = 2 if is_read_only else 5  # with the flushing
    found: dict[str, list[float]] = {}
    if is_read_only:
        files = existing(folder)
    else:
        found["create"] = timed(seconds / kinds, lambda n: create(f"{folder}/f{n}"))
        found["mkdir"] = timed(seconds / kinds, lambda n: os.mkdir(f"{folder}/d{n}"))
        made = [f"{folder}/f{n}" for n in range(len(found["create"]))]
        flushed = timed(seconds / kinds, lambda n: forget(made[n], is_dirty=True), most=len(made))
        files = made[: len(flushed)]
    if files:
        found["read"] = timed(
            seconds / kinds,
            lambda n: read(files[n % len(files)]),
            lambda n: forget(files[n % len(files)]),
        )
    # A name that nobody has asked for before: no cache of a client answers for it.
    fresh = os.urandom(4).hex()
    found["stat"] = timed(seconds / kinds, lambda n: os.path.exists(f"{folder}/.{fresh}-{n}"))
    return found


def timed(
    seconds: float,
    operation: Callable[[int], object],
    before: Callable[[int], None] | None = None,
    most: int = MOST_SAMPLES,
) -> list[float]:
    """How long each call took: as many as fit into ``seconds``, one at least."""
    took: list[float] = []
    end = time.perf_counter() + seconds
    while not took or (len(took) < most and time.perf_counter() < end):
        if before:
            before(len(took))
        begun = time.perf_counter()
        operation(len(took))
        took.append(time.perf_counter() - begun)
    return took


def throughput(folder: str, seconds: float, most: int) -> dict[str, float]:
    """Bytes a second of one large file, written to the disk and read from there."""
    path = f"{folder}/large"
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        begun = time.perf_counter()
        written = 0
        while written < most and time.perf_counter() - begun < seconds / 2:
            written += os.write(file, BLOCK)
        os.fsync(file)
        wrote = time.perf_counter() - begun
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.lseek(file, 0, os.SEEK_SET)
        begun = time.perf_counter()
        got = 0
        while part := os.read(file, len(BLOCK)):
            got += len(part)
            if time.perf_counter() - begun > seconds / 2:
                break
        return {"write": written / wrote, "read": got / (time.perf_counter() - begun)}
    finally:
        os.close(file)
        os.unlink(path)


def at_once(folder: str, seconds: float, workers: int, is_read_only: bool) -> dict[str, Any]:
    """What so many processes do at once: their operations, the latencies of some, the seconds."""
    files = existing(folder) if is_read_only else []
    if is_read_only and not files:
        return {}
    wait, go = os.pipe()
    pipes = []
    for number in range(workers):
        out, into = os.pipe()
        if os.fork() == 0:
            code = 1
            with suppress(BaseException):
                os.close(out)
                os.close(go)
                if not is_read_only:
                    os.mkdir(f"{folder}/w{number}")
                os.write(into, b"\n")  # ready
                os.read(wait, 1)  # until the other end is closed, for all
                answer = hammer(f"{folder}/w{number}", number, seconds, files)
                with os.fdopen(into, "w") as pipe:
                    json.dump(answer, pipe)
                code = 0
            os._exit(code)
        os.close(into)
        pipes.append(out)
    for out in pipes:
        os.read(out, 1)
    os.close(go)
    os.close(wait)
    took: list[dict[str, Any]] = []
    for out in pipes:
        with os.fdopen(out) as pipe, suppress(ValueError):  # one that failed says nothing
            took.append(json.load(pipe))
    for _ in pipes:
        os.wait()
    return {
        "workers": len(took),
        "operations": sum(one["operations"] for one in took),
        "latency": [each for one in took for each in one["latency"]],
        "seconds": max((one["seconds"] for one in took), default=0.0),
    }


def hammer(folder: str, number: int, lasts: float, files: Sequence[str]) -> dict[str, Any]:
    """One of many: makes, reads and removes a small file, again and again; or reads ``files``."""
    begin = time.perf_counter()
    took: list[float] = []
    operations = 0
    for n in count():
        if time.perf_counter() - begin > lasts:
            break
        if files:
            path = files[(number + n) % len(files)]
            forget(path)
            steps: list[Callable[[str], object]] = [read]
        else:
            path, steps = f"{folder}/{n}", [create, read, os.unlink]
        for step in steps:
            begun = time.perf_counter()
            step(path)
            operations += 1
            if operations <= MOST_TIMED:
                took.append(time.perf_counter() - begun)
    seconds = time.perf_counter() - begin
    return {"operations": operations, "latency": took, "seconds": seconds}


def create(path: str) -> None:
    """Make a small file."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(file, SMALL)
    finally:
        os.close(file)


def read(path: str) -> None:
    """Read the beginning of a file."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.read(file, len(SMALL))
    finally:
        os.close(file)


def forget(path: str, is_dirty: bool = False) -> None:
    """Have this machine drop what it holds of a file in memory."""
    file = os.open(path, os.O_RDONLY)
    try:
        if is_dirty:
            os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(file)


def existing(folder: str) -> list[str]:
    """Some files that are there."""
    with os.scandir(folder) as entries:
        return [entry.path for entry in islice(entries, MOST_FILES) if entry.is_file()]


def main(order: dict[str, Any]) -> dict[str, Any]:
    """Do what is ordered: latencies, and the rest where there are seconds for it."""
    folder, is_read_only = order["folder"], order["read_only"]
    answer: dict[str, Any] = {"latency": latencies(folder, order["latency"], is_read_only)}
    if order["throughput"] and not is_read_only:
        answer["throughput"] = throughput(folder, order["throughput"], order["bytes"])
    if order["at_once"]:
        answer["at_once"] = at_once(folder, order["at_once"], order["workers"], is_read_only)
    return answer


if __name__ == "__main__":
    try:
        print(json.dumps(main(json.loads(sys.argv[1]))))
    except OSError as failure:
        sys.exit(f"{failure.strerror}: {failure.filename or sys.argv[1]}")
