import json
from itertools import count

import numpy as np
import pytest
from scrutiny.acceptance import IN_FORCE, lines
from scrutiny.figures import decisions, figure, grouped_log_odds, probabilities_of, selective
from scrutiny.judging import judge, worst_pairs
from scrutiny.records import Record

from aura_model.metrics import compute_auc

TRAINED = ("self_blend", "mouth_swap")
BANDS = {IN_FORCE: (0.3, 0.6), "strict": (0.3, 0.99)}


def record(view="clean", label=0, log_odds=0.0, person="a", pair="a#1", family="self_blend", **further) -> Record:
    return Record(person, pair, family, view, label, log_odds, **further)


def people(number: int = 40):
    return [f"p{one}" for one in range(number)]


def good_records(levels=(1, 2, 3), drop: float = 0.0, size: int = 40) -> list[Record]:
    """A detector that tells all pairs of all families apart, worse by `drop` of them when perturbed."""
    rng, made = np.random.default_rng(0), []
    for family in ("self_blend", "mouth_swap", "donor_blend", "donor_poisson"):
        for place, person in enumerate(people(size)):
            own = {"person": person, "pair": f"{person}#{family}", "family": family}
            facts = tuple(rng.standard_normal(5))
            made += [
                record("clean", 0, -6 + rng.normal(), statistics=facts, **own),
                record("clean", 1, 6 + rng.normal(), statistics=facts, iou=0.5, **own),
            ]
            if family != "self_blend":
                continue
            sign = -1 if place < drop * size else 1
            for level in levels:
                made += [
                    record(f"blur:{level}", label, sign * (12 * label - 6) + rng.normal(), **own) for label in (0, 1)
                ]
            background = rng.normal()
            made += [
                record("null_blend", 1, -6 + rng.normal(), **(own | {"family": "null_blend"})),
                *(record("background", one, background, statistics=facts, **own) for one in (0, 1)),
                *(record("coded", one, -6 + rng.normal(), **own) for one in (0, 1)),
                record("silence", 1, -6 + rng.normal(), **own),
                *(record(f"edit:{name}", 1, -6 + rng.normal(), **own) for name in ("caption", "grey")),
            ]
    return made


class TestFigures:
    def test_auc_and_ece_come_with_intervals_by_person(self):
        rng = np.random.default_rng(1)
        labels = [0, 1] * 200
        odds = (np.array(labels) * 2.0 - 1 + rng.normal(0, 1, 400)).tolist()
        few, many = (figure(labels, odds, [str(one % people) for one in range(400)]) for people in (20, 400))
        assert few["auc"]["value"] == many["auc"]["value"] == pytest.approx(compute_auc(labels, odds))
        assert few["auc"]["low"] < few["auc"]["value"] < few["auc"]["high"]
        assert (few["people"], few["n"], few["reals"], few["fakes"]) == (20, 400, 200, 200)

    def test_few_people_have_no_interval(self):
        assert figure([0, 1] * 5, list(range(10)), ["a", "b"] * 5)["auc"]["low"] is None

    def test_probabilities_do_not_overflow(self):
        assert probabilities_of([-1e4, 0, 1e4]).tolist() == [0, 0.5, 1]

    def test_decisions_count_each_class(self):
        odds = [-3.0, 0.0, 3.0, -3.0, 3.0, 3.0]
        found = decisions([0, 0, 0, 1, 1, 1], odds, {"x": (0.3, 0.6)})["x"]
        assert found["reals"] == pytest.approx({"fake": 1 / 3, "real": 1 / 3, "uncertain": 1 / 3})
        assert found["fakes"] == pytest.approx({"fake": 2 / 3, "real": 1 / 3, "uncertain": 0})

    def test_decisions_of_a_class_that_is_not_there_are_unknown(self):
        assert decisions([0], [1.0], BANDS)[IN_FORCE]["fakes"] == {"fake": None, "real": None, "uncertain": None}

    def test_a_long_curve_is_thinned_to_its_ends(self):
        odds = np.linspace(-4, 4, 999).tolist()
        found = selective([int(one > 0) for one in odds], odds)
        assert len(found["curve"]) <= 100
        assert found["curve"][-1] == [1.0, 0.0]
        assert found["risk_at"]["0.8"] == 0
        assert selective([], [])["area"] is None

    def test_cheap_statistics_find_what_is_there(self):
        rng = np.random.default_rng(2)
        labels, groups = [0, 1] * 100, [str(one // 2) for one in range(200)]
        useful = np.stack([np.array(labels) + rng.normal(0, 0.3, 200), rng.normal(size=200)], 1)
        assert compute_auc(labels, grouped_log_odds(useful, labels, groups)) > 0.95
        useless = np.repeat(rng.normal(size=(100, 2)), 2, 0)
        assert compute_auc(labels, grouped_log_odds(useless, labels, groups)) == pytest.approx(0.5)

    def test_nobody_is_judged_by_a_model_that_saw_them(self):
        """Statistics that name the person would tell everything to a model that was fitted on them."""
        labels = [one % 2 for one in range(60)]
        named = np.eye(60)
        assert compute_auc(labels, grouped_log_odds(named, labels, [str(one) for one in range(60)])) <= 0.6


class TestJudge:
    def test_a_good_detector_passes_every_line_but_the_sizes(self):
        report = judge(good_records(), BANDS, TRAINED)
        missed = [one for one in lines(report) if not one.passed]
        assert {one.what.split(":")[0].split(" ")[0] for one in missed} <= {"probe", "clips"}
        assert all("only 40 a class" in one.found for one in missed if one.what.startswith("probe"))

    def test_families_are_of_three_kinds(self):
        drawn = [record("clean", one % 2, 9.0, person=f"g{one // 2}", family="generated_swap") for one in range(10)]
        families = judge([*good_records(), *drawn], BANDS, TRAINED)["families"]
        assert {name: one["kind"] for name, one in families["table"].items()} == {
            "self_blend": "trained",
            "mouth_swap": "trained",
            "donor_blend": "held_out",
            "donor_poisson": "held_out",
            "generated_swap": "drawn",
        }
        assert families["trained"] == families["held_out"] == {"mean": 1.0, "worst": 1.0}
        assert (families["table"]["generated_swap"]["reals"], families["table"]["generated_swap"]["fakes"]) == (5, 5)

    def test_the_mixture_is_of_the_deep_pairs_alone(self):
        report = judge(good_records(), BANDS, TRAINED)
        assert report["clean"]["n"] == report["robustness"]["clean"]["n"] == 80
        assert report["decisions"][IN_FORCE]["fakes"]["fake"] == 1.0
        assert sum(one["count"] for one in report["reliability"]) == 80
        assert report["selective"]["risk_at"]["1.0"] == 0

    def test_each_cell_tells_its_drop(self):
        cells = judge(good_records(drop=0.25), BANDS, TRAINED)["robustness"]["cells"]
        assert set(cells) == {"blur:1", "blur:2", "blur:3"}
        assert all(
            cell["drop"] == pytest.approx(1 - cell["auc"]["value"]) and cell["drop"] > 0.2 for cell in cells.values()
        )

    def test_probes_that_were_not_measured_are_left_out(self):
        probes = judge(good_records(), BANDS, TRAINED)["probes"]
        assert {"null blend", "coded twice", "silent sound", "edit: caption", "file metadata"} <= set(probes)
        assert "edit: letterbox" not in probes
        assert probes["background, by the detector"]["auc"]["value"] == pytest.approx(0.5)

    def test_null_blends_that_are_called_fake_are_counted(self):
        caught = [record("null_blend", 1, 5.0, person=f"n{one}", pair="x", family="null_blend") for one in range(10)]
        assert judge([*good_records(), *caught], BANDS, TRAINED)["null_blend"][IN_FORCE]["reals"][
            "fake"
        ] == pytest.approx(0.2)

    def test_the_overlap_is_per_family(self):
        found = judge(good_records(), BANDS, TRAINED)["heatmap"]
        assert found["mean"] == 0.5
        assert found["families"]["mouth_swap"] == {"n": 40, "mean": 0.5}

    def test_it_is_plain_and_says_the_same_in_any_order(self):
        records = good_records()
        first, second = (json.dumps(judge(some, BANDS, TRAINED), sort_keys=True) for some in (records, records))
        assert first == second


def test_the_worst_pairs_come_first():
    numbers = count()
    odds = [(0.0, 5.0), (2.0, -1.0), (-1.0, 0.0)]
    records = [
        record("clean", label, value, pair=f"p#{number}")
        for number, both in zip(numbers, odds, strict=False)
        for label, value in enumerate(both)
    ]
    lonely = record("clean", 1, -9.0, pair="alone", family="mouth_swap")
    worst = worst_pairs([*records, lonely])
    assert [one["pair"] for one in worst] == ["p#1", "p#2", "p#0"]
    assert worst[0] == {"pair": "p#1", "family": "self_blend", "real": 2.0, "fake": -1.0, "lead": -3.0}


class TestLines:
    def figure(self, value=0.5, low=0.4, high=0.6, ece=0.01, n=1200):
        return {
            "auc": {"value": value, "low": low, "high": high},
            "ece": {"value": ece},
            "n": n,
            "reals": n // 2,
            "fakes": n // 2,
        }

    def report(self, **changes):
        plain = {
            "clean": self.figure(0.99),
            "families": {"trained": {"mean": 0.99, "worst": 0.98}, "held_out": {"mean": 0.93, "worst": 0.81}},
            "robustness": {
                "clean": self.figure(0.99),
                "cells": {"blur:3": self.figure(0.95) | {"drop": 0.04}, "blur:5": self.figure(0.6) | {"drop": 0.39}},
            },
            "probes": {"null blend": self.figure()},
            "null_blend": {IN_FORCE: {"reals": {"fake": 0.03}}},
        }
        return plain | changes

    def missed(self, **changes):
        return [one.what for one in lines(self.report(**changes)) if one.gate and not one.passed]

    def test_what_is_good_enough_passes(self):
        assert self.missed() == []

    @pytest.mark.parametrize(
        ("families", "expected"),
        [
            (
                {"trained": {"mean": 0.97, "worst": 0.9}},
                ["trained families, mean AUC >= 0.98", "trained families, worst AUC >= 0.98"],
            ),
            ({"trained": {"mean": 0.985, "worst": 0.97}}, ["trained families, worst AUC >= 0.98"]),
            ({"held_out": {"mean": 0.89, "worst": 0.85}}, ["held-out families, mean AUC >= 0.90"]),
            ({"held_out": {"mean": 0.90, "worst": 0.79}}, ["held-out families, worst AUC >= 0.80"]),
            ({}, []),
        ],
    )
    def test_families(self, families, expected):
        assert self.missed(families=families) == expected

    @pytest.mark.parametrize(
        ("cell", "values", "expected"),
        [
            ("blur:1", {"drop": 0.09}, ["AUC drop, levels 1-3 <= 0.08"]),
            ("blur:4", {"drop": 0.2}, []),
            (
                "noise:2",
                {"drop": 0, "ece": {"value": 0.13}},
                ["ECE under shift, levels 1-3 <= 0.12"],
            ),
            ("noise:5", {"drop": 0, "ece": {"value": 0.13}}, []),
        ],
    )
    def test_the_grid(self, cell, values, expected):
        robustness = {
            "clean": self.figure(0.99),
            "cells": {"blur:2": self.figure() | {"drop": 0}, cell: self.figure() | values},
        }
        assert self.missed(robustness=robustness) == expected

    def test_a_small_grid_and_no_grid(self):
        cells = {"blur:1": self.figure() | {"drop": 0}}
        assert self.missed(robustness={"clean": self.figure(n=998), "cells": cells}) == ["clips in each cell >= 1000"]
        assert self.missed(robustness={"clean": self.figure(), "cells": {}}) == []

    def test_calibration(self):
        assert self.missed(clean=self.figure(ece=0.051)) == ["ECE, clean <= 0.05"]

    @pytest.mark.parametrize(
        ("figure", "passes"),
        [
            ({}, True),
            ({"low": 0.5}, True),
            ({"low": 0.5 + 1e-16, "high": 0.5 - 1e-16}, True),
            ({"high": 0.5}, True),
            ({"low": 0.501}, False),
            ({"high": 0.499}, False),
            ({"low": None, "high": None}, False),
            ({"n": 798}, False),
        ],
    )
    def test_probes(self, figure, passes):
        assert (self.missed(probes={"x": self.figure(**figure)}) == []) is passes

    def test_null_blends(self):
        assert self.missed(null_blend={IN_FORCE: {"reals": {"fake": 0.06}}}) == ["null blends called fake <= 0.05"]
        assert self.missed(null_blend={IN_FORCE: {"reals": {"fake": None}}}) == []

    def test_higher_levels_are_told_but_are_no_gate(self):
        high = {line.what: (line.passed, line.gate) for line in lines(self.report())}
        assert high["AUC drop, all levels <= 0.08"] == (False, False)
        assert high["ECE under shift, all levels <= 0.12"] == (True, False)

    def test_a_line_tells_the_worst_cell(self):
        found = {one.what: one.found for one in lines(self.report())}
        assert found["AUC drop, levels 1-3 <= 0.08"] == "0.040 (blur:3)"
        assert found["probe null blend: 0.5 in the interval"] == "0.500 [0.400, 0.600]"
