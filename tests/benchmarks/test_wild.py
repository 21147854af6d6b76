import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import wild
from rich.console import Console
from scrutiny.acceptance import IN_FORCE
from scrutiny.wild_clips import WildClip
from wild import AURA, Answers, OddsOf, judge, lines, log_odds_of, over_videos, parser, same_crops, tell

from aura_model.errors import ConfigError
from aura_model.scores import ClipScore
from aura_model.settings import load_config


def clip(name: str, label: int, kind: str = "original", group: str = "", pair: str = "") -> WildClip:
    return WildClip(Path(name), name, label, kind, group or name, pair)


def prediction(probability: float | None, clips: int = 2, verdict: str = "real"):
    cut = tuple(SimpleNamespace(track_id=0, frames=np.full((1, 2, 2, 3), one, np.uint8)) for one in range(clips))
    analysis = SimpleNamespace(
        fake_probability=probability,
        verdict=verdict,
        reasons=("no_audio",),
        model=SimpleNamespace(operating_points=None),
    )
    return SimpleNamespace(analysis=analysis, clips=SimpleNamespace(clips=cut, media=None))


@pytest.fixture
def answers(pair_config) -> Answers:
    """Twelve originals, eight swaps of the first of them, and four reenactments."""
    originals = [clip(f"r{one}.mp4", 0, group=f"g{one}") for one in range(12)]
    swaps = [clip(f"s{one}.mp4", 1, "face_swap", f"g{one}", f"r{one}") for one in range(8)]
    others = [clip(f"t{one}.mp4", 1, "reenactment", f"h{one}") for one in range(4)]
    odds = np.linspace(-3, -1, 12).tolist() + np.linspace(1, 3, 8).tolist() + [-2.0, -0.5, 0.0, 4.0]
    said = [prediction(1 / (1 + np.exp(-one))) for one in odds]
    return Answers([*originals, *swaps, *others], said, pair_config)


def systems(answers: Answers) -> dict[str, np.ndarray]:
    return {AURA: answers.aura, "constant": np.full(24, 0.5), "wrong": 1 - answers.aura}


class TestAnswers:
    def test_a_video_without_a_probability_is_a_half(self, answers):
        some = Answers(answers.clips[:3], [prediction(0.9), prediction(None), None], answers.config)
        assert some.aura.tolist() == [0.9, 0.5, 0.5]
        assert some.labels == [0, 0, 0]

    def test_the_band_of_a_model_without_points(self, answers):
        assert answers.bands == {IN_FORCE: (0.35, 0.65)}

    def test_nothing_readable_is_judged_by_the_configuration(self, pair_config):
        assert Answers([clip("a", 0)], [None], pair_config).bands == {IN_FORCE: (0.35, 0.65)}


class TestJudge:
    def test_figures_are_overall_by_kind_and_on_pairs(self, answers):
        found = judge(answers, systems(answers))["auc"]
        assert set(found) == {"overall", "matched pairs", "matched swaps", "face_swap", "reenactment"}
        assert found["face_swap"][AURA]["value"] == found["matched swaps"][AURA]["value"] == 1.0
        assert (found["reenactment"][AURA]["n"], found["matched pairs"][AURA]["n"]) == (16, 16)
        assert found["overall"]["constant"]["value"] == 0.5
        assert 0.5 < found["overall"][AURA]["low"] < found["overall"][AURA]["value"] < 1

    def test_leads_are_over_each_other_system(self, answers):
        leads = judge(answers, systems(answers))["leads"]
        assert set(leads["overall"]) == {"constant", "wrong"}
        assert leads["matched pairs"]["wrong"]["value"] == 1.0

    def test_pairs_won(self, answers):
        assert judge(answers, systems(answers))["pairs_won"]["matched swaps"] == {
            AURA: 1.0,
            "constant": 0.5,
            "wrong": 0.0,
        }

    def test_decisions_are_of_the_bands(self, answers):
        decided = judge(answers, systems(answers))["decisions"][IN_FORCE]
        assert decided["reals"] == {"fake": 0.0, "real": 1.0, "uncertain": 0.0}
        assert decided["fakes"]["fake"] == pytest.approx(9 / 12)
        assert decided["fakes"]["uncertain"] == pytest.approx(1 / 12 + 1 / 12)

    def test_each_video_is_a_row(self, answers):
        rows = judge(answers, systems(answers))["clips"]
        assert len(rows) == 24
        assert rows[12] | {AURA: 0, "wrong": 0} == {
            "file": "s0.mp4",
            "label": 1,
            "kind": "face_swap",
            "group": "g0",
            "verdict": "real",
            "reasons": ["no_audio"],
            "clips": 2,
            AURA: 0,
            "constant": 0.5,
            "wrong": 0,
        }

    def test_an_unreadable_video_is_a_row_too(self, answers):
        some = Answers(answers.clips, [None, *answers.predictions[1:]], answers.config)
        row = judge(some, systems(some))["clips"][0]
        assert (row["verdict"], row["reasons"], row["clips"], row[AURA]) == (None, ["unreadable"], 0, 0.5)

    def test_it_is_plain(self, answers):
        json.dumps(judge(answers, systems(answers)), allow_nan=False)

    def test_a_folder_without_pairs_or_with_few_videos(self, pair_config):
        few = [clip("a", 0), clip("b", 1, "face_swap"), clip("c", 0)]
        some = Answers(few, [prediction(0.1), prediction(0.9), prediction(0.2)], pair_config)
        report = judge(some, {AURA: some.aura})
        assert set(report["auc"]) == {"overall", "face_swap"}
        assert report["auc"]["overall"][AURA]["low"] is None
        assert not any("pairs" in one.what for one in lines(report))


class TestLines:
    def verdicts(self, report) -> dict[str, bool]:
        return {one.what: one.passed for one in lines(report)}

    def test_a_good_detector_passes(self, answers):
        assert self.verdicts(judge(answers, systems(answers))) == {
            "matched pairs: AUC interval above 0.5": True,
            "overall: above constant": True,
            "overall: above wrong": True,
            "matched pairs: above constant": True,
            "matched pairs: above wrong": True,
            "reals called fake <= 0.10": True,
            "ambition: AUC >= 0.85": True,
            "ambition: swap pairs >= 0.90": True,
        }

    def test_one_that_is_wrong_passes_nothing(self, answers):
        flipped = [prediction(1 - one.analysis.fake_probability) for one in answers.predictions]
        worse = Answers(answers.clips, flipped, answers.config)
        report = judge(worse, {AURA: worse.aura, "constant": np.full(24, 0.5)})
        assert not any(self.verdicts(report).values())

    def test_an_equal_system_is_not_beaten(self, answers):
        report = judge(answers, {AURA: answers.aura, "twin": answers.aura})
        assert not self.verdicts(report)["overall: above twin"]

    def test_ambitions_are_no_gates(self, answers):
        gates = {one.what: one.gate for one in lines(judge(answers, systems(answers)))}
        assert [what for what, gate in gates.items() if not gate] == [
            "ambition: AUC >= 0.85",
            "ambition: swap pairs >= 0.90",
        ]

    def test_they_are_printed(self, answers):
        report, console = judge(answers, systems(answers)), Console(record=True, width=160)
        tell(console, report, lines(report))
        said = console.export_text()
        assert "matched swaps" in said
        assert "pass  reals called fake <= 0.10: 0.000" in said
        assert "in_force: reals fake 0.00" in said


class TestBaselines:
    def test_a_system_is_asked_about_each_videos_clips(self, answers):
        class Counting:
            def score(self, clips):
                return [float(one.frames.mean()) for one in clips]

        some = Answers(answers.clips[:3], [prediction(0.5, 3), None, prediction(0.5, 0)], answers.config)
        assert over_videos(some, Counting()).tolist() == pytest.approx([1 / (1 + np.exp(-1)), 0.5, 0.5])

    def test_a_scorers_log_odds(self):
        scorer = SimpleNamespace(score=lambda clips: [ClipScore(one, None, None) for one in clips])
        assert OddsOf(scorer).score([0.5, -2.0]) == [0.5, -2.0]

    def test_crops_that_are_cut_otherwise_are_refused(self, pair_config, monkeypatch):
        for other, size in ((pair_config, 64), (load_config(env={}), 224)):
            scorer = SimpleNamespace(loaded=SimpleNamespace(config=other))
            monkeypatch.setattr(wild, "load_scorer", lambda config, scorer=scorer: scorer)
            if size == 64:
                assert same_crops("plain", "plain.pth", pair_config) is scorer
                continue
            with pytest.raises(ConfigError, match="--baseline plain"):
                same_crops("plain", "plain.pth", pair_config)

    def test_which_ones_there_are(self, answers, monkeypatch):
        monkeypatch.setattr(
            wild, "fitted_probe", lambda args, config: SimpleNamespace(score=lambda clips: [1.0] * len(clips))
        )
        monkeypatch.setattr(
            wild,
            "same_crops",
            lambda name, file, config: SimpleNamespace(
                score=lambda clips: [ClipScore(-1.0, None, None) for _ in clips]
            ),
        )
        args = parser().parse_args(["folder", "--faces", "faces.csv", "--baseline", "plain=some=where.pth"])
        found = wild.baselines(answers, args)
        assert list(found) == ["constant", "metadata only", "ImageNet linear probe", "plain"]
        assert found["plain"] == pytest.approx(np.full(24, 1 / (1 + np.e)))
        assert list(wild.baselines(answers, parser().parse_args(["folder"]))) == ["constant", "metadata only"]


class TestMain:
    """The whole command; the predictor and the model are stand-ins."""

    @pytest.fixture
    def folder(self, tmp_path, answers):
        rows = [f"{one.file},{('real', 'fake')[one.label]},{one.kind},{one.group},{one.pair}" for one in answers.clips]
        (tmp_path / "manifest.csv").write_text("file,label,kind,group,pair\n" + "\n".join(rows) + "\n")
        return tmp_path

    @pytest.fixture
    def asked(self, answers, monkeypatch):
        paths: list[Path] = []

        class Predictor:
            def __init__(self, config):
                paths.append(Path(str(config.inference.checkpoint)))

            def __enter__(self):
                return self

            def __exit__(self, *_):
                paths.append(Path("closed"))

            def predict_all(self, files):
                paths.extend(files)
                yield from [*answers.predictions[:-1], OSError("gone")]

        monkeypatch.setattr(wild, "Predictor", Predictor)
        monkeypatch.setattr(wild, "Prediction", SimpleNamespace)
        loaded = SimpleNamespace(loaded=SimpleNamespace(config=answers.config))
        monkeypatch.setattr(wild, "load_scorer", lambda config: loaded)
        return paths

    def test_a_report_is_written_and_printed(self, folder, asked, answers, capsys):
        assert wild.main([str(folder), "--checkpoint", "x.pth", "--json", str(folder / "out" / "w.json")]) == 0
        report = json.loads((folder / "out" / "w.json").read_text())
        assert asked == [Path("x.pth"), *(folder / one.file for one in answers.clips), Path("closed")]
        assert list(report["auc"]["overall"]) == [AURA, "constant", "metadata only"]
        assert report["clips"][-1]["reasons"] == ["unreadable"]
        said = capsys.readouterr().out
        assert all(one["what"] in said for one in report["acceptance"])

    def test_no_path_of_this_machine_is_in_the_results(self, folder, asked):
        wild.main([str(folder), "--checkpoint", "x.pth", "--json", str(folder / "w.json")])
        assert str(folder) not in (folder / "w.json").read_text()

    def test_a_missed_gate_is_the_exit_status(self, folder, asked, monkeypatch):
        monkeypatch.setattr(wild, "MOST_CALLED_FAKE", -0.1)
        assert wild.main([str(folder), "--checkpoint", "x.pth"]) == 1

    def test_a_missed_ambition_is_none(self, folder, asked, monkeypatch):
        monkeypatch.setattr(wild, "AMBITION", 1.1)
        assert wild.main([str(folder), "--checkpoint", "x.pth"]) == 0


def test_the_probe_learns_crops_like_the_predictors(pair_config, tmp_path, monkeypatch):
    """Of the train split's genuine people, cut as the predictor cuts."""
    (tmp_path / "a.jpg").write_bytes(b"")
    rows = "".join(f"p{one}{split},real,{split},a.jpg\n" for one in range(3) for split in ("train", "test"))
    (tmp_path / "faces.csv").write_text("video_id,label,split,path\n" + rows + "f,fake,train,a.jpg\n")
    fitted = {}

    class Probe:
        def __init__(self, features):
            fitted["features"] = features

        def fit(self, studio, people, families, count):
            fitted.update(people=people, families=families, count=count)

    def rows_of(config):
        fitted["loose"] = config
        return lambda row: []

    monkeypatch.setattr(wild, "LinearProbe", Probe)
    monkeypatch.setattr(wild, "Features", lambda: "features")
    monkeypatch.setattr(wild, "MediaRows", rows_of)
    args = parser().parse_args(["folder", "--faces", str(tmp_path / "faces.csv"), "--probe-pairs", "7"])
    wild.fitted_probe(args, pair_config)
    assert sorted(one.video_id for one in fitted["people"]) == ["p0train", "p1train", "p2train"]
    assert (fitted["count"], fitted["features"]) == (7, "features")
    assert "donor_blend" not in fitted["families"]
    assert fitted["loose"].dataset.video == pair_config.dataset.video
    assert fitted["loose"].dataset.face.size == fitted["loose"].dataset.pseudo_fakes.size


def test_log_odds_are_finite_and_the_inverse():
    assert np.isfinite(log_odds_of(np.array([0.0, 1.0]))).all()
    assert log_odds_of(np.array([0.5, 0.731058578])) == pytest.approx([0, 1])
