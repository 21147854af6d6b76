"""Does anything from outside break what reads it?

    python benchmarks/fuzz.py mutations [--count 20000] [--children 2] [--log FILE] [--media FOLDER]
    python benchmarks/fuzz.py parsers [NAME ...] [--seconds 300]
    python benchmarks/fuzz.py interface URL [--cases 1000] [--key KEY]

`mutations` opens damaged videos in decode children: each must give clips or a media error, and no child may die. With
`--log` a run that was stopped goes on where it was. `parsers` drives every parser of outside input with atheris where
that is installed (`pip install atheris`), guided by what the code does, and without it with damaged inputs: only typed
errors may come out. `interface` asks a running service all that its OpenAPI document allows and forbids. `--json FILE`
writes the figures.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mutants import mutant

from aura_model.errors import AuraError, MediaError
from aura_model.sandbox import Sandbox
from aura_model.settings import load_config

MEDIA = Path(__file__).parents[1] / "tests" / "media"
LARGEST_SEED = 300_000
"""Bytes: of larger files the damage would rarely hit a header."""
LIGHT = ("dataset.face.detector=center_crop", "dataset.face.size=64", "dataset.audio.min_speech=0")
DEATHS = frozenset({"decode_crashed", "decode_timeout", "decode_out_of_memory"})
PARSE_SECONDS = 10
"""One input may take so long."""
FUZZED = ("aura_model", "deployments", "training")


def main() -> None:
    """Run one part and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    mutations = parts.add_parser("mutations")
    mutations.add_argument("--count", type=int, default=20_000)
    mutations.add_argument("--children", type=int, default=2)
    mutations.add_argument("--log", type=Path)
    mutations.add_argument("--media", type=Path, default=MEDIA)
    parsers = parts.add_parser("parsers")
    parsers.add_argument("names", nargs="*")
    parsers.add_argument("--seconds", type=int, default=300)
    one = parts.add_parser("parser")
    one.add_argument("name")
    one.add_argument("seconds", type=int)
    one.add_argument("folder", type=Path)
    interface = parts.add_parser("interface")
    interface.add_argument("url")
    interface.add_argument("--cases", type=int, default=1000)
    interface.add_argument("--key")
    for part in (mutations, parsers, one, interface):
        part.add_argument("--json", type=Path)
    args = parser.parse_args()
    results = {"mutations": run_mutations, "parsers": run_parsers, "parser": fuzz_one, "interface": run_interface}[
        args.part
    ](args)
    for name, value in results.items():
        print(f"  {name:32s} {value}")
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


# --- damaged videos ---


def run_mutations(args: argparse.Namespace) -> dict[str, Any]:
    """Open the damaged files that the log does not have yet; figures over all of them."""
    seeds = [path.read_bytes() for path in sorted(args.media.rglob("*")) if is_seed(path)]
    done = read_log(args.log)
    left = [number for number in range(args.count) if number not in done]
    settings = load_config(env={}, overrides=[*LIGHT, "limits.decode_seconds=10"])
    began = time.perf_counter()
    with Sandbox(settings, children=args.children) as pool, ThreadPoolExecutor(args.children) as threads:
        outcomes = threads.map(lambda number: open_mutant(pool, number, seeds), left)
        for outcome in logged(outcomes, args.log):
            done[outcome["number"]] = outcome
        replaced = pool.replaced
    lines = list(done.values())
    codes = Counter(line["outcome"] for line in lines)
    slowest = max(lines, key=lambda line: float(line["seconds"]))
    dead = [line for line in lines if line["outcome"] in DEATHS]
    return {
        "files": len(lines),
        "outcomes": dict(codes.most_common()),
        "children that died (mark: 0)": replaced,
        "crashes, time-outs (mark: 0)": dead,
        "uncaught (mark: 0)": codes["uncaught"],
        "slowest, seconds": f"{slowest['seconds']} (number {slowest['number']})",
        "largest child, MB": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
        "this run, seconds": round(time.perf_counter() - began, 1),
    }


def is_seed(path: Path) -> bool:
    """Whether a file is one to damage."""
    return path.is_file() and path.suffix not in {".py", ".md", ".csv"} and 8 < path.stat().st_size <= LARGEST_SEED


def open_mutant(pool: Sandbox, number: int, seeds: Sequence[bytes]) -> dict[str, Any]:
    """What became of one damaged file."""
    began, detail = time.perf_counter(), ""
    try:
        outcome = "clips" if pool.load_clips(mutant(number, seeds)).clips else "no clips"
    except MediaError as error:
        outcome, detail = error.code, error.detail
    except Exception as error:  # noqa: BLE001 this is what is looked for
        outcome, detail = "uncaught", repr(error)
    line = {"number": number, "outcome": outcome, "seconds": round(time.perf_counter() - began, 3)}
    return line | ({"detail": detail} if outcome in DEATHS | {"uncaught"} else {})


def read_log(path: Path | None) -> dict[int, dict[str, Any]]:
    """The outcomes of earlier runs; a line that was cut off is done again."""
    found: dict[int, dict[str, Any]] = {}
    for line in path.read_text().splitlines() if path and path.exists() else ():
        with suppress(ValueError):
            found[json.loads(line)["number"]] = json.loads(line)
    return found


def logged(outcomes: Iterator[dict[str, Any]], path: Path | None) -> Iterator[dict[str, Any]]:
    """The outcomes, each in the log before it is passed on."""
    with (path or Path(os.devnull)).open("a") as file:
        for count, outcome in enumerate(outcomes, 1):
            print(json.dumps(outcome), file=file, flush=True)
            if not count % 1000:
                print(f"{count} files", file=sys.stderr)
            yield outcome


# --- parsers ---


def run_parsers(args: argparse.Namespace) -> dict[str, Any]:
    """Fuzz each parser in a process of its own."""
    from parsers import PARSERS

    results: dict[str, Any] = {"fuzzer": "atheris" if find_spec("atheris") else "damaged inputs"}
    with TemporaryDirectory() as folder:
        for name in args.names or PARSERS:
            command = [sys.executable, __file__, "parser", name, str(args.seconds), folder]
            run = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
            text = run.stdout + run.stderr
            rounds = re.findall(r"(?:Done|DONE|runs:)\s+(\d+)", text) or re.findall(r"#(\d+)", text) or ["0"]
            results[name] = f"{rounds[-1]} inputs, {'nothing found' if run.returncode == 0 else 'FOUND:'}"
            if run.returncode:
                results[name] += "\n" + text[-3000:]
            print(f"{name}: {results[name]}", file=sys.stderr)
    return results


def fuzz_one(args: argparse.Namespace) -> dict[str, Any]:
    """Fuzz one parser; ends the process with a status other than 0 at the first find."""
    if not find_spec("atheris"):
        return damage_one(args.name, args.seconds)
    atheris: Any = import_module("atheris")
    with atheris.instrument_imports(include=list(FUZZED)):
        from parsers import PARSERS
    parser, corpus = PARSERS[args.name], args.folder / args.name
    corpus.mkdir(exist_ok=True)
    for number, seed in enumerate(parser.seeds()):
        (corpus / f"seed{number}").write_bytes(seed)

    def test(data: bytes) -> None:
        """One input."""
        with suppress(AuraError):
            parser.parse(data)

    limits = [f"-max_total_time={args.seconds}", f"-timeout={PARSE_SECONDS}", "-rss_limit_mb=4096"]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={args.folder}/", str(corpus)], test)
    atheris.Fuzz()
    return {}


def damage_one(name: str, seconds: int) -> dict[str, Any]:
    """The same without guidance."""
    from parsers import PARSERS

    end, count, slowest = time.monotonic() + seconds, 0, 0.0
    seeds = PARSERS[name].seeds()
    while time.monotonic() < end:
        began = time.perf_counter()
        with suppress(AuraError):
            PARSERS[name].parse(mutant(count, seeds))
        count, slowest = count + 1, max(slowest, time.perf_counter() - began)
    if slowest > PARSE_SECONDS:
        raise TimeoutError(f"an input took {slowest:.1f} s")
    return {"runs:": count, "slowest, seconds": round(slowest, 3)}


# --- the interface ---


def run_interface(args: argparse.Namespace) -> dict[str, Any]:
    """All phases of schemathesis against a running service."""
    import schemathesis
    from schemathesis.config import SchemathesisConfig
    from schemathesis.engine import events, from_schema

    settings = {
        "continue-on-failure": True,
        "generation": {"max-examples": args.cases, "mode": "all"},
        "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", 413, 422]}},
        "headers": {"X-API-Key": args.key} if args.key else {},
    }
    schema = schemathesis.openapi.from_url(f"{args.url}/openapi.json", config=SchemathesisConfig.from_dict(settings))
    cases, statuses, failures = 0, Counter[int](), Counter[str]()
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            cases += len(event.recorder.cases)
            replies = (item.response for item in event.recorder.interactions.values())
            statuses.update(reply.status_code for reply in replies if reply)
            checks = (check for found in event.recorder.checks.values() for check in found)
            failures.update(f"{event.recorder.label}: {c.failure_info.failure.title}" for c in checks if c.failure_info)
        if isinstance(event, events.NonFatalError | events.FatalError):
            failures[str(event)] += 1
    return {"cases": cases, "statuses": dict(statuses), "failures (mark: none)": dict(failures)}


if __name__ == "__main__":
    main()
