"""The page of figures is what the results say."""

import json
from pathlib import Path
from typing import Any

import pytest
from model_card import BLOCKS
from performance import PAGE, RESULTS, SECTIONS, rewrite, show

LOAD = {
    "rate": 10.0,
    "seconds": 12.0,
    "goodput": 9.5,
    "p50": 30.0,
    "p99": 60.0,
    "statuses": {"200": 114},
    "rejected_p50": float("nan"),
    "rejected_max": float("nan"),
    "live_p99": 4.0,
}
REPLY = {"status": 413, "code": "file_too_large", "seconds": 0.25, "sent": 14.0, "sent_in_all": 14.0}
FIGURES: dict[str, dict[str, Any]] = {
    "load": {
        "kinds": {
            "real": {
                "capacity": 10.0,
                "slo": 5.0,
                "loads": {"1x": LOAD, "2x": LOAD | {"statuses": {"503": 1}, "rejected_p50": 8.0, "rejected_max": 20.0}},
                "marks": {"goodput at 2x": True, "no probe failed": False},
            }
        }
    },
    "hostile": {
        "files": 3,
        "statuses": {"200": 2, "422": 1},
        "seconds": {"p50": 0.1, "p95": 0.2, "max": 1.5},
        "agreement": 0.66,
        "largest child, MB": 240,
        "growth, MB": {"Ingress": 3.2},
        "deaths": {},
        "temporary files": [],
        "disagreements": [{"file": "a.mp4", "expected": "200|422 x", "status": 422, "words": ["empty_file"]}],
    },
    "bodies": {
        "megabytes": 512,
        "cases": {"in chunks": {"refusals": [REPLY], "growth": {"proxy": 12.0, "Ingress": 1.0}}},
    },
    "children": {
        "bombs": {"PNG": {"code": "resolution_too_large", "seconds": 0.1, "processor seconds": 0.1, "MB more": 3.0}},
        "one child": [{"files": 300, "MB more": 0.1}],
        "fresh children": {"children": 200, "died": 0},
    },
    "soak": {
        "minutes": 60.0,
        "capacity": 4.0,
        "requests": 7200,
        "p99, ms": {"first": 900.0, "last": 950.0},
        "statuses": {"good 200": 6300},
        "drifts": {"Ingress 12": {"MB a minute": 0.1, "descriptors": 0.0, "threads": 0.0}},
    },
    "compare": {
        "systems": {
            "Aura": {
                "requests/s": 3.1,
                "p50": 1.0,
                "p95": 1.4,
                "processor s a request": {"Ingress": 0.02, "child": 0.3},
                "processor s a second, idle": 0.15,
            }
        },
        "ratio": 1.02,
        "best of the others": "LitServe",
        "video": "talking_face.mp4",
        "clients": 4,
        "packages": {"LitServe": "litserve==1"},
    },
    "chaos": {
        "proxy": {
            "of": 200,
            "lost": 12,
            "recovery": 4.6,
            "seconds": {"0.5": 0.06, "0.95": 0.1, "0.99": float("inf")},
            "marks": {"back in < 10 s": True},
        }
    },
}
SAID = {
    "load": ["| 2x | 10 | 9.5 | 0.95 | 30 | 8, 20 | 4 |", "- no probe failed: **missed**"],
    "hostile": ["| as expected | 66.0 % |", "| `a.mp4` | 200 or 422 x | 422 empty_file |", "| processes lost | none |"],
    "bodies": ["| in chunks | 413 | 0.25 | 14 | 12 | 1 |"],
    "children": ["| PNG | resolution_too_large | 0.1 | 0.1 | 3 |", "- one child, round 1: files 300, MB more 0.1"],
    "soak": ["60 minutes, 7200 requests, 2.00 a second.", "| Ingress | 0.1 | 0 | 0 |"],
    "compare": [
        "| Aura | 3.1 | 1 | 1.4 | 0.32 (Ingress 0.02, child 0.3) | 0.15 |",
        "Aura makes 1.02 of the best of the others, LitServe;",
    ],
    "chaos": ["| proxy | 200 | 12 | 0.06 | 0.1 | none | 4.6 | back in < 10 s: met |"],
}


@pytest.mark.parametrize("name", SECTIONS)
def test_a_block_says_what_its_file_says(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.json").write_text(json.dumps({"machine": {"cores": 2}, **FIGURES[name]}))
    page = f"before\n<!-- figures: {name} -->\nold\n<!-- end -->\nafter\n"
    lines = rewrite(page, tmp_path).splitlines()
    assert (lines[0], lines[-1]) == ("before", "after")
    assert "old" not in lines
    for line in [*SAID[name], "Measured with cores 2."]:
        assert line in lines


def test_a_block_without_a_file_says_so(tmp_path: Path) -> None:
    page = "<!-- figures: load -->\nold\n<!-- end -->"
    assert rewrite(page, tmp_path) == "<!-- figures: load -->\nNot measured yet.\n<!-- end -->"


def test_the_page_is_up_to_date() -> None:
    page = PAGE.read_text()
    assert rewrite(page, RESULTS) == page, "run python benchmarks/performance.py"


def test_the_page_has_a_block_for_every_result() -> None:
    page = PAGE.read_text()
    assert [name for name in SECTIONS if f"<!-- figures: {name} -->" not in page] == []
    shown_elsewhere = {source for block in BLOCKS.values() for source in block.sources}
    assert {path.stem for path in RESULTS.glob("*.json")} <= SECTIONS.keys() | shown_elsewhere


@pytest.mark.parametrize(
    ("value", "text"),
    [(1, "1"), (0.123456, "0.123"), (12.0, "12"), (1234.5, "1234"), (float("nan"), "none"), ("a", "a")],
)
def test_values(value: object, text: str) -> None:
    assert show(value) == text
