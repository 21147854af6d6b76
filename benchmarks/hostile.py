"""Does the service come through a folder of odd, broken and hostile files, and give each the right answer?

    python benchmarks/hostile.py FOLDER [--clients 4] [--manifest FILE] [--progress FILE] [--json FILE]

FOLDER holds a manifest (CSV, TSV or JSON) with a file and what is expected on each row, such as `200`,
`422 corrupt_video` or `200|422 no_video_stream`. Every file is uploaded to a service of the benchmark's own. With
`--progress` each answer is kept in that file, and a second run goes on where the first was interrupted. The marks: no
5xx, no answer after more than 10 s, no process of the service lost, at least 99 % as expected, no process grown by more
than 150 MB, no temporary file left.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from live import Service, live_service, save_json
from manifest import Entry, read_manifest
from open_loop import NO_REPLY, percentile, send, upload
from rich.progress import MofNCompleteColumn, Progress, TextColumn
from watch import Sample, deaths, growth, sample, watching

MEDIA = Path(__file__).parents[1] / "tests" / "media"
WARM_UP = ("talking_face.mp4", "two_faces.mp4", "face.jpg", "audio_only.m4a", "vp9.webm")
PATIENCE = 150.0
"""Seconds; more than the service's own deadline."""
HANG_SECONDS = 10.0
GROWTH_MB = 150.0


@dataclass(frozen=True)
class Outcome:
    """What the service said to one file."""

    file: str
    expected: str
    bytes: int
    status: int
    """0: no reply."""
    words: list[str]
    """The code of the problem; or the verdict and its reasons."""
    detail: str
    seconds: float
    agrees: bool | None


def main() -> None:
    """Send everything, then print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--manifest", type=Path, help="where it is not FOLDER/manifest.*")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--progress", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    entries = read_manifest(args.folder, args.manifest)
    done = load_progress(args.progress)
    todo = [entry for entry in entries if entry.path.is_file() and entry.file not in done]
    with live_service() as service:
        asyncio.run(send_all(service, [Entry(name, MEDIA / name, "200") for name in WARM_UP], 2, None))
        before = sample(service, 0.0)
        with watching(service, 1.0, ["child"]) as children:
            outcomes = asyncio.run(send_all(service, todo, args.clients, args.progress))
        time.sleep(2.0)
        after = sample(service, 0.0)
        left = [str(path.relative_to(service.temp)) for path in service.temp.rglob("*") if path.is_file()]
    outcomes = [*done.values(), *outcomes]
    missing = [entry.file for entry in entries if not entry.path.is_file() and entry.file not in done]
    results = report(outcomes, before, after, children) | {"temporary files": left, "missing": missing}
    show(results)
    save_json(args.json, results | {"outcomes": [asdict(outcome) for outcome in outcomes]})


def load_progress(path: Path | None) -> dict[str, Outcome]:
    """The outcomes of an earlier run that was interrupted."""
    if path is None or not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    outcomes = [Outcome(**json.loads(line)) for line in lines if line.endswith("}")]
    return {outcome.file: outcome for outcome in outcomes}


async def send_all(service: Service, entries: Sequence[Entry], clients: int, progress: Path | None) -> list[Outcome]:
    """Upload every file, so many at once, and show how far it is."""
    left, outcomes = iter(entries), list[Outcome]()
    columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TextColumn("{task.fields[file]}"))

    async def client() -> None:
        """Take the next file until none is left."""
        for entry in left:
            bar.update(task, file=repr(entry.file)[-60:])
            outcomes.append(outcome := await send_one(service, entry))
            bar.advance(task)
            if progress:
                with progress.open("a") as file:
                    file.write(json.dumps(asdict(outcome)) + "\n")

    with Progress(*columns, disable=progress is None and len(entries) <= len(WARM_UP)) as bar:
        task = bar.add_task("files", total=len(entries), file="")
        await asyncio.gather(*(client() for _ in range(clients)))
    return outcomes


async def send_one(service: Service, entry: Entry) -> Outcome:
    """Upload one file."""
    content = entry.path.read_bytes()
    began = time.perf_counter()
    try:
        async with asyncio.timeout(PATIENCE):
            answer = await send(service.port, upload(content, entry.path.name))
        status, body = answer.status, answer.body
    except (OSError, TimeoutError, EOFError, ValueError) as error:
        status, body = NO_REPLY, json.dumps({"detail": type(error).__name__}).encode()
    seconds = time.perf_counter() - began
    words, detail = read_body(body)
    agrees = entry.agrees(status, set(words))
    return Outcome(entry.file, entry.text, len(content), status, words, detail, seconds, agrees)


def read_body(body: bytes) -> tuple[list[str], str]:
    """The code or verdict first, then the reasons; and the sentence of a problem."""
    try:
        fields: dict[str, Any] = json.loads(body)
    except ValueError:
        return [], body[:100].decode(errors="replace")
    first = fields.get("code") or fields.get("verdict")
    return [word for word in (first, *fields.get("reasons", ())) if word], fields.get("detail", "")


def report(
    outcomes: list[Outcome], before: list[Sample], after: list[Sample], children: list[Sample]
) -> dict[str, Any]:
    """All figures."""
    judged = [outcome for outcome in outcomes if outcome.agrees is not None]
    seconds = [outcome.seconds for outcome in outcomes]
    slowest = sorted(outcomes, key=lambda outcome: -outcome.seconds)[:5]
    private, rss = growth(before, after, "private"), growth(before, after, "rss")
    return {
        "files": len(outcomes),
        "statuses": dict(sorted(Counter(outcome.status for outcome in outcomes).items())),
        "codes": dict(Counter(outcome.words[0] if outcome.words else "" for outcome in outcomes).most_common()),
        "failed": [asdict(outcome) for outcome in outcomes if outcome.status >= 500 or outcome.status == NO_REPLY],
        "seconds": {"p50": statistics.median(seconds), "p95": percentile(seconds, 0.95), "max": max(seconds)},
        "slowest": {outcome.file: round(outcome.seconds, 2) for outcome in slowest},
        "deaths": deaths(before, after),
        "decode children": len({one.pid for one in children}),
        "largest child, MB": round(max((one.rss for one in children), default=0) / 1e6),
        "growth, MB": {kind: round(value, 1) for kind, value in private.items()},
        "growth with shared memory, MB": {kind: round(value, 1) for kind, value in rss.items()},
        "judged": len(judged),
        "agreement": sum(bool(outcome.agrees) for outcome in judged) / len(judged) if judged else None,
        "disagreements": [asdict(outcome) for outcome in judged if not outcome.agrees],
    }


def show(results: dict[str, Any]) -> None:
    """Print the figures, the disagreements and the marks."""
    for name, value in results.items():
        if name not in {"disagreements", "failed"}:
            print(f"{name:32s} {value}")
    for outcome in results["disagreements"]:
        said = f"{outcome['status']} {' '.join(outcome['words'])}"
        print(f"  {outcome['file']!r}: expected {outcome['expected']}, was {said}. {outcome['detail']}")
    agreement = results["agreement"]
    marks = {
        "no 5xx, and every request answered": not results["failed"],
        f"no answer after more than {HANG_SECONDS:g} s": results["seconds"]["max"] <= HANG_SECONDS,
        "no process lost": not results["deaths"],
        "at least 99 % as expected": agreement is None or agreement >= 0.99,
        f"no process grown by more than {GROWTH_MB:g} MB": max(results["growth, MB"].values()) <= GROWTH_MB,
        "no temporary file left": not results["temporary files"],
    }
    for mark, met in marks.items():
        print(f"{'met   ' if met else 'MISSED'} {mark}")


if __name__ == "__main__":
    main()
