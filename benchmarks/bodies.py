"""How soon does the service refuse a body that is too large, and what does that cost it?

    python benchmarks/bodies.py [--megabytes 512] [--json FILE]

Uploads of 512 MiB meet a service that accepts 100 MB, behind stages that sleep: with a Content-Length, in chunks, five
at once, and five at once by clients that send on whatever the service says. The marks: 413 within a second and with at
most 20 MiB sent, 411 at once, the proxy grown by 150 MB at most. Last come four uploads that are allowed.
"""

import argparse
import select
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from live import Service, Stub, live_service, save_json
from open_loop import BOUNDARY, CHUNK, NO_REPLY, Answer, code_of, parse
from watch import Sample, sample, watching

LIMIT = 100_000_000
MIB = 1 << 20
HEAD = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'.encode()


@dataclass(frozen=True)
class Refusal:
    """How one upload ended."""

    status: int
    code: str | None
    seconds: float
    """To the reply; nan without one."""
    sent: float
    """MiB that the client had handed to its kernel by then."""
    sent_in_all: float


@dataclass(frozen=True)
class Case:
    """One way to send too much."""

    name: str
    status: int
    clients: int = 1
    is_chunked: bool = False
    is_stubborn: bool = False
    """Whether the client sends everything, whatever it hears."""
    mib: int | None = None
    """How much each sends; None: far too much."""


CASES = (
    Case("with a Content-Length", 413),
    Case("in chunks", 411, is_chunked=True),
    Case("five with a Content-Length", 413, clients=5),
    Case("five in chunks", 411, clients=5, is_chunked=True),
    Case("five stubborn ones with a Content-Length", 413, clients=5, is_stubborn=True),
    Case("five stubborn ones in chunks", 411, clients=5, is_chunked=True, is_stubborn=True),
    Case("four of 90 MiB, which is allowed", 200, clients=4, mib=90),
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=512, help="MiB in each upload")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    settings = {"limits": {"max_bytes": LIMIT}}
    results = {}
    with live_service(settings, stub=Stub()) as service:
        upload(service.port, MIB, Case("warm-up", 200))
        for case in CASES:
            results[case.name] = measure(service, case, (case.mib or args.megabytes) * MIB)
            show(case, results[case.name])
    save_json(args.json, {"megabytes": args.megabytes, "cases": results})


def measure(service: Service, case: Case, size: int) -> dict[str, Any]:
    """One case: how the uploads ended, and by how many MB proxy and ingress grew at most."""
    kinds = ("proxy", "Ingress")
    before = sample(service, 0.0, kinds)
    with watching(service, 0.05, kinds) as samples, ThreadPoolExecutor(case.clients) as pool:
        refusals = list(pool.map(partial(upload, service.port, size), [case] * case.clients))
    return {"refusals": [asdict(refusal) for refusal in refusals], "growth": growth(before, samples, kinds)}


def growth(before: Sequence[Sample], during: Sequence[Sample], kinds: Sequence[str]) -> dict[str, float]:
    """MB by kind: the largest sample beside the one before."""
    return {
        kind: (max((one.rss for one in during if one.kind == kind), default=first) - first) / 1e6
        for kind in kinds
        for first in [max(one.rss for one in before if one.kind == kind)]
    }


def upload(port: int, size: int, case: Case) -> Refusal:
    """Send up to `size` bytes, and look out for a reply all the while."""
    sent, sent_by_then, began = 0, 0, time.perf_counter()
    seconds, answer = float("nan"), None
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        for part in message(size, is_chunked=case.is_chunked):
            try:
                connection.sendall(part)
            except OSError:
                break  # closed by the service, perhaps with a reply
            sent += len(part)
            if answer is None and select.select([connection], [], [], 0)[0]:
                answer, seconds, sent_by_then = reply(connection), time.perf_counter() - began, sent
            if answer and not case.is_stubborn:
                break
        if answer is None:
            answer, seconds, sent_by_then = reply(connection), time.perf_counter() - began, sent
    status, code = (answer.status, code_of(answer.body)) if answer else (NO_REPLY, None)
    return Refusal(status, code, seconds, sent_by_then / MIB, sent / MIB)


def message(size: int, *, is_chunked: bool) -> Iterator[bytes]:
    """The request in parts: a form with one file of zeros."""
    tail = f"\r\n--{BOUNDARY}--\r\n".encode()
    length = f"Content-Length: {len(HEAD) + size + len(tail)}"
    yield (
        f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
        f"{'Transfer-Encoding: chunked' if is_chunked else length}\r\n\r\n"
    ).encode()
    frame = (lambda part: b"%x\r\n%b\r\n" % (len(part), part)) if is_chunked else bytes
    yield frame(HEAD)
    for begin in range(0, size, CHUNK):
        yield frame(bytes(min(CHUNK, size - begin)))
    yield frame(tail)
    if is_chunked:
        yield b"0\r\n\r\n"


def reply(connection: socket.socket) -> Answer | None:
    """Read until the reply is whole; None where none comes."""
    received = bytearray()
    with suppress(OSError):
        while part := connection.recv(CHUNK):
            received += part
            answer = parse(received)
            if answer and answer.whole:
                return answer
    return None


def show(case: Case, result: dict[str, Any]) -> None:
    """Print one case and its marks."""
    refusals = [Refusal(**fields) for fields in result["refusals"]]
    grown = result["growth"]
    slowest, most = max(refusal.seconds for refusal in refusals), max(refusal.sent for refusal in refusals)
    print(f"{case.name}: {[refusal.status for refusal in refusals]} after {slowest:.2f} s and {most:.0f} MiB", end="; ")
    print(f"proxy +{grown['proxy']:.0f} MB, ingress +{grown['Ingress']:.0f} MB")
    marks = {f"all are {case.status}": all(refusal.status == case.status for refusal in refusals)}
    if not case.mib:
        marks |= {
            "within 1 s": slowest < 1.0,
            "at most 20 MiB sent": most <= 20,
            "proxy +150 MB at most": grown["proxy"] <= 150,
        }
    for mark, met in marks.items():
        print(f"  {'met   ' if met else 'MISSED'} {mark}")


if __name__ == "__main__":
    main()
