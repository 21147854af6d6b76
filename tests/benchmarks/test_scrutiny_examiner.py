from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scrutiny.examiner import NULL, Examiner, Job, Task, deal
from scrutiny.probes import EDITS, coded

from aura_model.augment.pairs import GENERATED

GRID = [("blur", 1), ("contrast", 5)]


@pytest.fixture
def examiner(pair_config, studio, brightness) -> Examiner:
    return Examiner(pair_config, studio, brightness, GRID)


def views(records) -> Counter:
    return Counter((one.view, one.label) for one in records)


def examined(examiner, person, *jobs):
    return examiner.examine(Task(person, jobs))


def test_a_shallow_job_scores_the_clean_pair(examiner, make_person):
    records = examined(examiner, make_person("eva"), Job("self_blend", 3, deep=False))
    assert views(records) == {("clean", 0): 1, ("clean", 1): 1}
    assert {(one.person, one.pair, one.family) for one in records} == {("eva", "eva#3", "self_blend")}


def test_a_deep_job_scores_every_condition(examiner, make_person):
    records = examined(examiner, make_person("eva"), Job("self_blend", 3, deep=True))
    both = ["clean", "blur:1", "contrast:5", "background", "coded"]
    changed = [NULL, "silence", *(f"edit:{name}" for name in EDITS)]
    expected = {(view, label): 1 for view in both for label in (0, 1)} | {(view, 1): 1 for view in changed}
    assert views(records) == expected


def test_scores_are_of_the_view_that_they_stand_beside(examiner, make_person):
    by_view = {
        (one.view, one.label): one.log_odds
        for one in examined(examiner, make_person("eva"), Job("self_blend", 3, True))
    }
    real, dark = by_view["clean", 0], by_view["contrast:5", 0]
    assert dark + 4 == pytest.approx(0.35 * (real + 4), rel=0.02)
    assert by_view["edit:darker", 1] < real < by_view["edit:brighter", 1]


def test_statistics_and_overlap_are_where_they_belong(examiner, make_person):
    records = examined(examiner, make_person("eva"), Job("self_blend", 3, deep=True))
    assert {one.view: len(one.statistics) for one in records if one.statistics} == {"clean": 5, "background": 12}
    (overlap,) = [one.iou for one in records if one.iou is not None]
    assert 0 < overlap < 1


def test_the_face_is_gone_from_the_background(examiner, brightness, make_person):
    records = examined(examiner, make_person("eva"), Job("self_blend", 3, deep=True))
    real, fake = (
        clip.frames for clip, record in zip(brightness.clips, records, strict=False) if record.view == "background"
    )
    assert (real[:, 24:40, 24:40] == 128).all()
    assert np.abs(real.astype(int) - fake).mean() < 1


def test_double_coding_is_beside_single_coding(examiner, brightness, make_person):
    records = examined(examiner, make_person("eva"), Job("self_blend", 3, deep=True))
    seen = {(record.view, record.label): clip for clip, record in zip(brightness.clips, records, strict=False)}
    real, once, twice = (seen[view].frames for view in (("clean", 0), ("coded", 0), ("coded", 1)))
    assert np.array_equal(once, coded(real))
    assert np.array_equal(twice, coded(once))
    assert not np.array_equal(once, twice)


def test_only_silence_has_a_sound(examiner, brightness, make_person):
    records = examined(examiner, make_person("eva"), Job("self_blend", 3, deep=True))
    heard = [record.view for clip, record in zip(brightness.clips, records, strict=False) if clip.wave is not None]
    assert heard == ["silence"]


def test_a_null_blend_is_another_draw_of_the_genuine_clip(examiner, brightness, make_person):
    examined(examiner, make_person("eva"), Job("self_blend", 3, deep=True))
    real, blended = brightness.clips[0].frames, brightness.clips[-1].frames
    assert real.shape == blended.shape
    assert not np.array_equal(real, blended)


def test_a_forgery_all_over_leaves_no_background(examiner, make_person):
    records = examined(examiner, make_person("eva"), Job("generated_picture", 3, deep=True))
    assert "background" not in {one.view for one in records}


@pytest.mark.parametrize("family", sorted(GENERATED))
def test_a_drawn_face_is_scored_beside_its_partner(examiner, make_person, family):
    records = examined(examiner, make_person("gan", label=1), Job(family, 3, deep=False))
    assert [(one.family, one.view, one.label) for one in records] == [(family, "clean", 0), (family, "clean", 1)]
    assert len({one.log_odds for one in records}) == 2


@pytest.mark.parametrize("name", ["nobody", "broken"])
def test_who_shows_no_face_gives_no_records(examiner, make_person, name):
    assert examined(examiner, make_person(name), Job("self_blend", 1, True), Job("donor_blend", 2, False)) == []


def test_a_family_that_found_nothing_to_change_gives_no_records(examiner, make_person):
    """A sound's forgery has no picture."""
    assert examined(examiner, make_person("eva"), Job("copy_synthesis", 1, deep=True)) == []


def test_a_person_is_opened_once_for_all_jobs(examiner, people, make_person):
    examined(examiner, make_person("eva"), Job("self_blend", 1, False), Job("mouth_swap", 2, False))
    assert people.opened == ["eva"]


def test_records_do_not_depend_on_who_came_before(examiner, make_person):
    eva, fred = make_person("eva"), make_person("fred")
    job = Job("self_blend", 1, deep=True)
    alone = examined(examiner, eva, job)
    examined(examiner, fred, job)
    again = examined(examiner, eva, job)
    assert [replace(one, statistics=()) for one in again] == [replace(one, statistics=()) for one in alone]
    for one, other in zip(again, alone, strict=True):
        assert one.statistics == pytest.approx(other.statistics, rel=0.05)  # a file's bytes may differ by a few


class TestDeal:
    def test_each_family_gets_its_pairs(self, make_person):
        tasks = deal([make_person(name) for name in "abcde"], {"self_blend": 7, "mouth_swap": 3}, {"self_blend": 2})
        jobs = [job for task in tasks for job in task.jobs]
        assert Counter(job.family for job in jobs) == {"self_blend": 7, "mouth_swap": 3}
        assert Counter(job.family for job in jobs if job.deep) == {"self_blend": 2}

    def test_no_two_pairs_have_one_draw(self, make_person):
        tasks = deal([make_person(name) for name in "abc"], {"self_blend": 7, "mouth_swap": 5}, {})
        draws = [job.draw for task in tasks for job in task.jobs]
        assert len(set(draws)) == 12

    def test_all_people_are_used_alike(self, make_person):
        tasks = deal([make_person(name) for name in "abcd"], {"self_blend": 3, "mouth_swap": 5}, {})
        assert [len(task.jobs) for task in tasks] == [2, 2, 2, 2]
        assert [task.sample.video_id for task in tasks] == list("abcd")

    def test_people_are_left_over_where_pairs_are_few(self, make_person):
        tasks = deal([make_person(name) for name in "abcd"], {"self_blend": 2}, {"self_blend": 9})
        assert [task.sample.video_id for task in tasks] == ["a", "b"]
