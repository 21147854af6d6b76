"""How the benchmarks turn what they saw into figures and marks."""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import compare
import hostile
import load
import psutil
import pytest
import soak
from hostile import Outcome
from load import KINDS
from open_loop import NO_REPLY, Reply
from soak_plot import plot
from watch import Sample, deaths, growth

OK = Reply(scheduled=1.0, sent=1.0, status=200, seconds=0.5)
BUSY = Reply(scheduled=1.0, sent=1.0, status=503, seconds=0.01, retry_after="2")
ALIVE = Reply(scheduled=0.0, sent=0.0, status=200, seconds=0.004)


def one_load(*replies: Reply, probes: tuple[Reply, ...] = (ALIVE,)) -> load.Load:
    return load.summary(list(replies), list(probes), 10.0, 10.0, 1.0)


def test_goodput_counts_what_was_good_in_time_and_while_the_load_lasted() -> None:
    late, after = replace(OK, seconds=1.1), replace(OK, scheduled=9.8)
    assert one_load(OK, OK, late, after, BUSY, replace(OK, status=500)).goodput == 0.2


def test_a_load_in_figures() -> None:
    figures = one_load(OK, replace(OK, sent=1.2), BUSY, replace(BUSY, seconds=0.03, retry_after=None))
    assert figures.statuses == {200: 2, 503: 2}
    assert (figures.p50, figures.rejected_p50, figures.rejected_max) == (500.0, 10.0, 30.0)
    assert figures.without_retry_after == 1
    assert figures.generator_late == pytest.approx(200)
    assert (figures.live_p99, figures.live_failed) == (4.0, 0)


GOOD = load.Load(
    rate=10.0,
    seconds=10.0,
    goodput=9.0,
    p50=100.0,
    p99=200.0,
    statuses={200: 90, 503: 10},
    rejected_p50=8.0,
    rejected_max=50.0,
    without_retry_after=0,
    live_p99=10.0,
    live_max=20.0,
    live_failed=0,
    generator_late=1.0,
)
FAULTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "goodput at 2x": ("2x", {"goodput": 8.9}, "goodput at 2x"),
    "goodput at 4x": ("4x", {"goodput": 7.9}, "goodput at 4x"),
    "slow refusals": ("4x", {"rejected_p50": 101.0}, "refusals take"),
    "no Retry-After": ("2x", {"without_retry_after": 1}, "every refusal says"),
    "slow afterwards": ("0.5x after", {"p50": 121.0}, "p50 121 ms"),
    "slow probes": ("1x", {"live_p99": 51.0}, "/health/live p99"),
    "a probe failed": ("0.5x before", {"live_failed": 1}, "no probe failed"),
    "an error": ("4x", {"statuses": {200: 1, 500: 1}}, "nothing but 200 and 503"),
    "no reply": ("1x", {"statuses": {NO_REPLY: 1}}, "nothing but 200 and 503"),
}


def test_all_marks_are_met_by_a_good_service() -> None:
    assert all(load.judge(dict.fromkeys(load.LOADS, GOOD), KINDS["stub-250"]).values())


@pytest.mark.parametrize(("name", "change", "mark"), FAULTS.values(), ids=FAULTS)
def test_each_mark_can_be_missed(name: str, change: dict[str, Any], mark: str) -> None:
    loads = dict.fromkeys(load.LOADS, GOOD) | {name: replace(GOOD, **change)}
    missed = [text for text, met in load.judge(loads, KINDS["stub-250"]).items() if not met]
    assert [text.startswith(mark) for text in missed] == [True]


def process(kind: str, pid: int, at: float = 0.0, **values: int) -> Sample:
    return Sample(at, kind, pid, **{"rss": 0, "private": 0, "descriptors": 10, "threads": 5} | values)


def test_growth_is_that_of_the_process_that_grew_most_and_lived_through() -> None:
    before = [process("Ingress", 1, private=50_000_000), process("Ingress", 2, private=50_000_000), process("proxy", 3)]
    after = [
        process("Ingress", 1, private=51_000_000),
        process("Ingress", 2, private=80_000_000, rss=7),
        process("Detector", 9, private=900_000_000),
    ]
    assert growth(before, after, "private") == {"Ingress": 30.0}
    assert growth(before, after, "rss") == {"Ingress": pytest.approx(0.000007)}
    assert deaths(before, after) == {"proxy": [3]}
    assert deaths(before, before) == {}


def outcome(**changes: Any) -> Outcome:
    return replace(Outcome("a.mp4", "200", 5, 200, ["real"], "", 0.5, agrees=True), **changes)


def test_the_report_on_hostile_files() -> None:
    outcomes = [
        outcome(),
        outcome(file="b.mp4", status=422, words=["empty_file"], agrees=False, seconds=12.0),
        outcome(file="c.mp4", status=500, words=["internal"], agrees=None),
        outcome(file="d.mp4", status=NO_REPLY, words=[], agrees=None),
    ]
    before = [process("Ingress", 1), process("Detector", 2)]
    report = hostile.report(outcomes, before, before[:1], [process("child", 7, rss=250_000_000)])
    assert report["statuses"] == {0: 1, 200: 1, 422: 1, 500: 1}
    assert [one["file"] for one in report["failed"]] == ["c.mp4", "d.mp4"]
    assert (report["agreement"], [one["file"] for one in report["disagreements"]]) == (0.5, ["b.mp4"])
    assert next(iter(report["slowest"])) == "b.mp4"
    assert report["deaths"] == {"Detector": [2]}
    assert (report["decode children"], report["largest child, MB"]) == (1, 250)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"verdict": "not_applicable", "reasons": ["no_face"]}', (["not_applicable", "no_face"], "")),
        (b'{"code": "too_long", "detail": "Send less."}', (["too_long"], "Send less.")),
        (b"Internal error \xff", ([], "Internal error \ufffd")),
    ],
)
def test_what_a_service_said(body: bytes, said: tuple[list[str], str]) -> None:
    assert hostile.read_body(body) == said


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "progress.jsonl"
    assert hostile.load_progress(path) == hostile.load_progress(None) == {}
    odd = outcome(file="\udcff.mp4")
    path.write_text(json.dumps(asdict(odd)) + "\n" + json.dumps(asdict(outcome()))[:40])
    assert hostile.load_progress(path) == {"\udcff.mp4": odd}


def watched(seconds: int, megabytes: float, descriptors: float = 0.0) -> list[Sample]:
    """A process that grows by so many MB and descriptors a minute, after a start that does not count."""
    return [
        process(
            "Ingress", 1, at, private=round(1e6 * (100 + megabytes * at / 60)), descriptors=round(descriptors * at / 60)
        )
        for at in range(0, seconds, 10)
    ]


@pytest.mark.parametrize("megabytes", [0.0, 0.5, -2.0])
def test_the_drift_of_memory(megabytes: float) -> None:
    samples = [*watched(3600, megabytes), process("Ingress", 2, 0.0, private=1)]
    assert soak.drift(soak.curve(samples, 1)) == {"MB a minute": megabytes, "descriptors": 0.0, "threads": 0.0}


def test_what_grows_at_the_start_does_not_count() -> None:
    samples = [process("Ingress", 1, at, private=min(at, 500) * 1_000_000) for at in range(0, 3600, 10)]
    assert soak.drift(soak.curve(samples, 1))["MB a minute"] == 0.0


def run_of(samples: list[Sample], *replies: tuple[str, Reply], **changes: Any) -> soak.Run:
    return replace(soak.Run(60.0, 4.0, list(replies), samples), **{"free_places": True, **changes})


GOOD_REPLIES = [("good", replace(OK, scheduled=float(at))) for at in range(0, 3600, 30)]
SOAKS: dict[str, tuple[soak.Run, str | None]] = {
    "good": (run_of(watched(3600, 0.1), *GOOD_REPLIES), None),
    "memory": (run_of(watched(3600, 1.1), *GOOD_REPLIES), "memory grows"),
    "descriptors": (run_of(watched(3600, 0.0, 0.2), *GOOD_REPLIES), "descriptors within 5"),
    "a death": (run_of([*watched(3600, 0.0), process("Ingress", 2)], *GOOD_REPLIES), "no process lost"),
    "a file": (run_of(watched(3600, 0.0), *GOOD_REPLIES, temporary=["a"]), "no temporary file left"),
    "a place": (run_of(watched(3600, 0.0), *GOOD_REPLIES, free_places=False), "every place is free"),
    "not ended": (run_of(watched(3600, 0.0), *GOOD_REPLIES, free_places=None), "every place is free"),
    "slower": (run_of(watched(3600, 0.0), *GOOD_REPLIES, ("good", replace(OK, scheduled=3590.0, seconds=0.7))), "p99"),
    "an error": (run_of(watched(3600, 0.0), *GOOD_REPLIES, ("hostile", replace(OK, status=500))), "nothing but"),
    "unanswered": (run_of(watched(3600, 0.0), *GOOD_REPLIES, ("hostile", replace(OK, status=0))), "nothing but"),
    "a refusal": (run_of(watched(3600, 0.0), *GOOD_REPLIES, ("good", replace(BUSY, scheduled=5.0))), None),
    "refusals": (run_of(watched(3600, 0.0), *GOOD_REPLIES, *[("hostile", BUSY)] * 2), "at most 1 %"),
    "a leaver": (run_of(watched(3600, 0.0), *GOOD_REPLIES, ("leaver", replace(OK, status=0))), None),
}


@pytest.mark.parametrize(("run", "mark"), SOAKS.values(), ids=SOAKS)
def test_the_marks_of_a_soak(run: soak.Run, mark: str | None) -> None:
    missed = [text for text, met in soak.report(run)["marks"].items() if not met]
    assert missed == [] if mark is None else (len(missed) == 1 and missed[0].startswith(mark)), missed


def test_an_interrupted_soak_still_gives_a_curve(tmp_path: Path) -> None:
    results = soak.report(run_of(watched(60, 0.0), ("good", OK), free_places=None))
    plot(json.loads(json.dumps(results)), tmp_path / "soak.png")
    assert (tmp_path / "soak.png").stat().st_size > 1000


def test_nothing_seen_at_all_is_still_a_report() -> None:
    assert soak.report(soak.Run(60.0, 4.0))["requests"] == 0


def test_the_ratio_is_to_the_best_of_the_others() -> None:
    def rounds(*rates: float) -> list[compare.Round]:
        return [compare.Round(rate, [1 / rate], {"server": 0.5}, idle=rate / 10) for rate in rates]

    args = compare.argparse.Namespace(video=Path("a.mp4"), clients=4)
    report = compare.report({"Aura": rounds(3, 9, 3), "FastAPI": rounds(4, 4, 4), "LitServe": rounds(2, 2, 90)}, args)
    assert (report["best of the others"], report["ratio"]) == ("FastAPI", 0.75)
    assert report["systems"]["LitServe"]["requests/s"] == 2
    assert report["systems"]["Aura"]["processor s a second, idle"] == 0.3


def test_processor_time_counts_while_something_is_done() -> None:
    gone = psutil.Popen([sys.executable, "-c", ""])
    gone.wait()
    server = compare.Server(0, lambda: {"busy": [psutil.Process()], "gone": [gone]})
    done, used = compare.used_during(server, lambda: sum(range(3_000_000)))
    assert done == sum(range(3_000_000))
    assert 0 < used["busy"] < 30
    assert used["gone"] == 0


@pytest.mark.parametrize("reply", [BUSY, replace(OK, code="not_applicable"), replace(OK, status=NO_REPLY)])
def test_only_analyses_are_compared(reply: Reply) -> None:
    good = replace(OK, code="uncertain")
    assert compare.accept([good]) == [good]
    with pytest.raises(RuntimeError, match="not every reply"):
        compare.accept([good, reply])
