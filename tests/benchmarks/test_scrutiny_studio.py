import numpy as np
import pytest
from scrutiny.studio import Studio, person_of

from aura_model.augment.families import HELD_OUT
from aura_model.augment.pairs import GENERATED
from aura_model.errors import ConfigError
from aura_model.settings import load_config
from training.rows import EVALUATION, path_row


def pair_of(studio, person, family="self_blend", draw=1):
    return studio.pair(studio.open(person), person, family, draw)


def same(one, other) -> bool:
    sides = ((a, b) for a, b in ((one.real, other.real), (one.fake, other.fake)))
    return all(np.array_equal(a.frames, b.frames) for a, b in sides)


def test_a_pair_is_a_clip_and_its_forgery(studio, make_person):
    pair = pair_of(studio, make_person("eva"))
    assert (pair.family, pair.video_id) == ("self_blend", "eva")
    assert pair.real.frames.shape == pair.fake.frames.shape == (3, 64, 64, 3)
    assert (pair.real.label, pair.fake.label) == (0, 1)


def test_the_same_draw_gives_the_same_pair_and_another_one_another(studio, make_person):
    eva = make_person("eva")
    assert same(pair_of(studio, eva), pair_of(studio, eva))
    assert not same(pair_of(studio, eva), pair_of(studio, eva, draw=2))
    assert not same(pair_of(studio, eva), pair_of(studio, make_person("fred")))


@pytest.mark.parametrize("name", ["nobody", "broken"])
def test_who_shows_no_face_gives_no_pair(studio, make_person, name):
    assert studio.open(make_person(name)) == []
    assert pair_of(studio, make_person(name)) is None


class TestDonors:
    @pytest.mark.parametrize("family", sorted(HELD_OUT))
    def test_a_family_that_needs_a_donor_gets_another_person(self, studio, make_person, family):
        pair = pair_of(studio, make_person("eva"), family)
        assert pair.fake.label == 1
        assert not np.array_equal(pair.real.frames, pair.fake.frames)

    def test_nobody_is_their_own_donor(self, pair_config, people, make_person):
        anna = make_person("anna")
        assert pair_of(Studio(pair_config, people, [anna]), anna, "donor_blend") is None
        assert pair_of(Studio(pair_config, people, [anna, make_person("bert")]), anna, "donor_blend") is not None

    def test_donors_look_the_same_way(self, pair_config, people, make_person):
        alike = [make_person(name) for name in ("anna", "bert", "cleo")]
        others = [make_person(f"turned{one}") for one in range(3)]
        eva, aside = make_person("eva"), make_person("turned9")
        both, first, second = (Studio(pair_config, people, donors) for donors in (others + alike, alike, others))
        assert same(pair_of(both, eva, "donor_blend"), pair_of(first, eva, "donor_blend"))
        assert same(pair_of(both, aside, "donor_blend"), pair_of(second, aside, "donor_blend"))
        assert not same(pair_of(first, eva, "donor_blend"), pair_of(second, eva, "donor_blend"))

    def test_two_pictures_of_one_person_are_one_person(self, pair_config, people, make_person):
        studio = Studio(pair_config, people, [make_person("anna2", identity="Anna")])
        assert pair_of(studio, make_person("anna", identity="Anna"), "donor_blend") is None

    def test_donors_without_a_face_are_passed_over(self, pair_config, people, make_person):
        studio = Studio(pair_config, people, [make_person("nobody"), make_person("broken"), make_person("bert")])
        assert pair_of(studio, make_person("eva"), "donor_poisson") is not None

    def test_donors_are_opened_once_and_only_where_they_are_needed(self, studio, people, make_person):
        eva = make_person("eva")
        pair_of(studio, eva)
        assert people.opened == ["eva"]
        pair_of(studio, eva, "donor_blend")
        pair_of(studio, eva, "donor_poisson", 2)
        assert sorted(people.opened) == ["anna", "bert", "cleo", "dora", "eva", "eva", "eva"]


class TestDrawnFaces:
    @pytest.mark.parametrize("family", sorted(GENERATED))
    def test_they_stand_beside_their_partner(self, studio, people, make_person, family):
        pair = pair_of(studio, make_person("gan", label=1), family)
        assert (pair.family, pair.real.label, pair.fake.label) == (family, 0, 1)
        assert people.opened == ["gan", "anna"]
        assert not np.array_equal(pair.real.frames, pair.fake.frames)

    @pytest.mark.parametrize("name", ["nobody", "of_nobody"])
    def test_without_a_face_on_either_side_there_is_no_pair(self, studio, make_person, name):
        assert pair_of(studio, make_person(name, label=1), "generated_person") is None

    def test_without_partners_they_cannot_be_judged(self, pair_config, people, make_person):
        with pytest.raises(ValueError, match="partner"):
            pair_of(Studio(pair_config, people, []), make_person("gan", label=1), "generated_swap")


def test_a_configuration_without_pseudo_fakes_is_refused(people):
    with pytest.raises(ConfigError, match=r"pseudo_fakes\.enabled"):
        Studio(load_config(env={}), people, [])


def test_a_row_is_for_evaluation(make_person):
    row = path_row(make_person("eva"))
    assert (row["video_id"], row["epoch"], row["label"], row["split"]) == ("eva", EVALUATION, 0, "test")


def test_a_person_is_the_identity_or_else_the_video(make_person):
    assert person_of(make_person("eva", identity="Eva")) == "Eva"
    assert person_of(make_person("eva")) == "eva"
