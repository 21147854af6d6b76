"""The short form of `benchmarks/children.py`: what bombs cost a decode child, and whether children last."""

import pytest
from bombs import frame_bomb, png_bomb, vp9_bomb
from children import LIGHT, MEDIA, drop, early_stops, fresh_children

from aura_model.sandbox import Sandbox
from aura_model.settings import load_config

BOMBS = {
    "VP9 of 16384x8704": (vp9_bomb, "resolution_too_large"),
    "PNG of 16000x16000": (png_bomb, "resolution_too_large"),
    "60,000 frames": (frame_bomb, "too_many_frames"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_by_a_child_that_neither_dies_nor_grows(name: str) -> None:
    make, code = BOMBS[name]
    content = make()
    assert len(content) < 5_000_000
    cost = drop(content)
    assert (cost["code"], cost["survived"]) == (code, True)
    assert cost["MB more"] < 100


def test_many_frames_are_skipped_and_not_decoded() -> None:
    cost = drop(frame_bomb(30_000))
    assert (cost["code"], cost["survived"]) == ("clips", True)
    assert cost["MB more"] < 100


def test_one_child_lasts() -> None:
    soak = early_stops(60)
    assert soak["the same child"]
    assert soak["descriptors more"] == 0
    assert soak["MB more"] < 30
    assert (soak["children left"], soak["temporary files left"]) == (0, 0)


def test_fresh_children_leave_nothing_behind() -> None:
    fresh = fresh_children(5)
    assert (fresh["died"], fresh["children left"], fresh["temporary files left"]) == (0, 0, 0)


def test_children_that_were_there_before_are_not_counted() -> None:
    with Sandbox(load_config(env={}, overrides=LIGHT)) as other:
        other.load_clips(MEDIA / "one_frame.mp4")
        assert drop(frame_bomb(60_000))["survived"]
        assert early_stops(2)["the same child"]
        assert fresh_children(2)["children left"] == 0
