import json

import pytest
from scrutiny.records import Record, RecordFile

MADE = {"model": "m1", "pairs": 5, "levels": (1, 3)}
ONE = Record("anna", "anna#1", "self_blend", "clean", 1, 0.5, iou=0.25, statistics=(1.0, 2.5))
TWO = Record("bert", "bert#2", "self_blend", "blur:3", 0, -1.5)


def test_records_come_back_as_they_were(tmp_path):
    path = tmp_path / "deeper" / "scores.jsonl"
    RecordFile(path, MADE).add("0 anna", [ONE, TWO])
    assert RecordFile(path, MADE).records == [ONE, TWO]


def test_what_is_done_is_known_by_its_task(tmp_path):
    path = tmp_path / "scores.jsonl"
    kept = RecordFile(path, MADE)
    assert kept.done == {}
    kept.add("0 bert", [TWO])
    kept.add("0 nobody", [])
    assert kept.done == RecordFile(path, MADE).done == {"0 bert": [TWO], "0 nobody": []}


def test_the_order_of_the_records_is_that_of_the_tasks_names(tmp_path):
    first, second = (RecordFile(tmp_path / name, MADE) for name in ("a", "b"))
    for kept, order in ((first, "ab"), (second, "ba")):
        for task in order:
            kept.add(task, [ONE if task == "a" else TWO])
    assert first.records == second.records == [ONE, TWO]


def test_scores_that_were_made_otherwise_are_refused(tmp_path):
    path = tmp_path / "scores.jsonl"
    RecordFile(path, MADE)
    with pytest.raises(ValueError, match="made otherwise"):
        RecordFile(path, {**MADE, "pairs": 6})


def test_a_line_that_was_cut_off_is_dropped_and_written_anew(tmp_path):
    path = tmp_path / "scores.jsonl"
    RecordFile(path, MADE).add("a", [ONE])
    whole = path.read_text()
    path.write_text(whole + json.dumps(["b", [{"person": "be"}]])[:-9])
    kept = RecordFile(path, MADE)
    assert kept.done == {"a": [ONE]}
    kept.add("b", [TWO])
    assert RecordFile(path, MADE).done == {"a": [ONE], "b": [TWO]}
