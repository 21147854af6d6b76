import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import robustness
from rich.console import Console
from robustness import (
    QUICK_LEVELS,
    QUICK_PAIRS,
    RECIPE,
    Setup,
    bands_of,
    collect,
    main,
    parser,
    plan,
    read_config,
    shuffled,
    task_name,
    tell,
    trained_families,
    write,
)
from scrutiny.acceptance import IN_FORCE, Line
from scrutiny.examiner import Examiner, Job, Task
from scrutiny.judging import judge
from scrutiny.records import Record, RecordFile
from scrutiny.sheet import SIDE, TEXT_HEIGHT, draw_sheet

from aura_model.augment.families import HELD_OUT
from aura_model.augment.pairs import GENERATED
from aura_model.augment.perturbations import LEVELS
from aura_model.calibration import PLAIN_BAND
from aura_model.settings import read_yaml
from training.data.manifest import Sample

WEIGHTS = dict.fromkeys(read_yaml(RECIPE)["dataset"]["pseudo_fakes"]["families"], 0) | {
    "self_blend": 3,
    "mouth_swap": 1,
}


@pytest.fixture
def manifest(tmp_path) -> Path:
    """Six genuine people and fakes of two of them in the test split, and one of each elsewhere."""
    rows = [(f"p{one}", "real", "test") for one in range(6)]
    rows += [("f0", "fake", "test"), ("f1", "fake", "test"), ("q", "real", "train"), ("g", "fake", "val")]
    lines = []
    for name, label, split in rows:
        (tmp_path / f"{name}.jpg").write_bytes(b"")
        partner = {"f0": "p0", "f1": "p1"}.get(name, "")
        lines.append(f"{name},{label},{split},{name}.jpg,{name.upper()},{partner}")
    path = tmp_path / "faces.csv"
    path.write_text("video_id,label,split,path,identity,pair\n" + "\n".join(lines) + "\n")
    return path


def arguments(manifest: Path, *further: str):
    given = ["--checkpoint", "none.pth", "--set", "inference.checkpoint=null", "--manifest", str(manifest)]
    return parser().parse_args([*given, "--set", f"dataset.pseudo_fakes.families={json.dumps(WEIGHTS)}", *further])


def planned(manifest: Path, *further: str) -> tuple[list[Task], Setup]:
    args = arguments(manifest, *further)
    config = read_config(args)
    return plan(config, trained_families(config), args)


def jobs(tasks: list[Task], family: str) -> list[Job]:
    return [job for task in tasks for job in task.jobs if job.family == family]


class TestPlan:
    def test_genuine_people_of_the_split_are_forged(self, manifest):
        tasks, _ = planned(manifest, "--pairs", "8", "--family-pairs", "5")
        assert {task.sample.video_id for task in tasks if not task.sample.label} == {f"p{one}" for one in range(6)}

    def test_pairs_follow_the_recipes_weights_and_each_family_has_its_share(self, manifest):
        tasks, _ = planned(manifest, "--pairs", "8", "--family-pairs", "5")
        counts = {family: len(jobs(tasks, family)) for family in ("self_blend", "mouth_swap", "eyes_swap", *HELD_OUT)}
        assert counts == {"self_blend": 6, "mouth_swap": 5, "eyes_swap": 5, **dict.fromkeys(HELD_OUT, 5)}
        deep = {family: sum(job.deep for job in jobs(tasks, family)) for family in counts}
        assert deep == {"self_blend": 6, "mouth_swap": 2, "eyes_swap": 0, **dict.fromkeys(HELD_OUT, 0)}

    def test_fakes_of_the_data_set_are_put_beside_their_partners_in_each_way(self, manifest):
        tasks, _ = planned(manifest, "--pairs", "8", "--family-pairs", "5")
        of_fakes = [task for task in tasks if task.sample.label]
        assert {task.sample.video_id for task in of_fakes} == {"f0", "f1"}
        assert Counter(job.family for task in of_fakes for job in task.jobs) == dict.fromkeys(GENERATED, 5)
        assert not any(job.deep for task in of_fakes for job in task.jobs)
        assert not any(job.family in GENERATED for task in tasks if not task.sample.label for job in task.jobs)

    def test_without_fakes_there_is_nothing_of_them(self, manifest):
        genuine = [line for line in manifest.read_text().splitlines() if "fake" not in line]
        manifest.write_text("\n".join(genuine) + "\n")
        tasks, _ = planned(manifest, "--pairs", "8", "--family-pairs", "5")
        assert not any(jobs(tasks, family) for family in GENERATED)

    def test_the_setup_is_text_that_other_processes_can_read(self, manifest):
        _, setup = planned(manifest, "--workers", "1")
        assert hash(setup) == hash(Setup(setup.config, setup.donors, setup.levels, setup.threads))
        assert {Sample(**one).identity for one in json.loads(setup.donors)} == {f"P{one}" for one in range(6)}
        assert json.loads(setup.config)["dataset"]["manifest"] == str(manifest)
        assert setup.levels == LEVELS

    def test_a_checkpoint_says_what_it_was_trained_on(self, manifest, monkeypatch):
        config = read_config(arguments(manifest, "--set", "inference.checkpoint=some.pth"))
        stored = {"dataset": {"pseudo_fakes": {"families": {"eyes_swap": 1.0, "self_blend": 0}}}}
        for found, expected in ((stored, {"eyes_swap": 1.0}), ({}, {"mouth_swap": 1, "self_blend": 3})):
            monkeypatch.setattr(robustness, "read_checkpoint", lambda path, found=found: SimpleNamespace(config=found))
            assert trained_families(config) == expected

    def test_quick_has_fewer_levels(self, manifest):
        assert planned(manifest, "--quick")[1].levels == QUICK_LEVELS

    def test_a_split_without_genuine_people_is_refused(self, manifest):
        with pytest.raises(ValueError, match="val has no genuine"):
            planned(manifest, "--split", "val")

    def test_the_order_of_people_is_the_seeds(self):
        people = [Sample(str(one), 0, "test", "/x") for one in range(20)]
        assert shuffled(people, 1) == shuffled(people[::-1], 1) != shuffled(people, 2)
        assert sorted(one.video_id for one in shuffled(people, 1)) == sorted(one.video_id for one in people)


class TestCollect:
    @pytest.fixture(autouse=True)
    def _here(self, monkeypatch):
        """Threads of this process in place of processes."""
        from concurrent.futures import ThreadPoolExecutor

        monkeypatch.setattr(robustness, "ProcessPoolExecutor", lambda workers, mp_context: ThreadPoolExecutor(workers))
        monkeypatch.setattr(robustness, "examine", self.examine)
        self.examined: list[str] = []

    def examine(self, setup: Setup, task: Task) -> list[Record]:
        if task.sample.video_id == "bad":
            raise RuntimeError("the model is gone")
        self.examined.append(task.sample.video_id)
        return [Record(task.sample.video_id, "x", "self_blend", "clean", 0, 1.0)]

    def tasks(self, *names: str) -> list[Task]:
        return [Task(Sample(name, 0, "test", "/x"), ()) for name in names]

    def test_each_task_is_examined_once(self, tmp_path):
        kept, setup = RecordFile(tmp_path / "s", {}), Setup("{}", "[]", (1,), 1)
        collect(self.tasks("a", "b"), setup, kept, 2)
        assert sorted(self.examined) == ["a", "b"]
        assert [one.person for one in kept.records] == ["a", "b"]

    def test_a_run_goes_on_where_it_was(self, tmp_path):
        setup = Setup("{}", "[]", (1,), 1)
        collect(self.tasks("a"), setup, RecordFile(tmp_path / "s", {}), 1)
        collect(self.tasks("a", "b"), setup, RecordFile(tmp_path / "s", {}), 1)
        assert self.examined == ["a", "b"]

    def test_what_was_scored_before_a_failure_is_kept(self, tmp_path):
        with pytest.raises(RuntimeError, match="gone"):
            collect(self.tasks("a", "bad"), Setup("{}", "[]", (1,), 1), RecordFile(tmp_path / "s", {}), 1)
        assert set(RecordFile(tmp_path / "s", {}).done) == {"0 a"}


def test_a_genuine_and_a_fake_sample_of_one_name_are_two_tasks():
    names = {task_name(Task(Sample("x", label, "test", "/x"), ())) for label in (0, 1)}
    assert len(names) == 2


class TestBands:
    def loaded(self, points, config):
        return SimpleNamespace(info=SimpleNamespace(operating_points=points), config=config)

    def test_a_model_without_points_has_the_plain_band(self, pair_config):
        assert bands_of(self.loaded(None, pair_config)) == {IN_FORCE: PLAIN_BAND}

    def test_each_point_has_its_band(self, pair_config):
        from aura_model.calibration import OperatingPoint, OperatingPoints

        rates = dict.fromkeys(("true_positive_rate", "real_abstention", "fake_abstention"), 0.5)
        points = {
            name: OperatingPoint(
                name=name,
                low=0.2,
                high=high,
                false_positive_rate=0.1,
                false_positive_interval=(0, 0.2),
                reals=9,
                fakes=9,
                **rates,
            )
            for name, high in (("screening", 0.4), ("balanced", 0.5), ("strict", 0.9))
        }
        bands = bands_of(self.loaded(OperatingPoints(**points), pair_config))
        assert bands == {IN_FORCE: (0.2, 0.5), "screening": (0.2, 0.4), "balanced": (0.2, 0.5), "strict": (0.2, 0.9)}


class TestReport:
    @pytest.fixture
    def records(self, pair_config, studio, brightness, make_person) -> list[Record]:
        examiner = Examiner(pair_config, studio, brightness, [("blur", 1)])
        people = [make_person(name) for name in "efghijklmnop"]
        return [
            record
            for number, person in enumerate(people)
            for record in examiner.examine(Task(person, (Job("self_blend", number + 1, deep=True),)))
        ]

    def test_the_whole_way_from_people_to_a_report(self, records, tmp_path):
        report = judge(records, {IN_FORCE: (0.3, 0.6)}, ["self_blend"])
        write(tmp_path / "deeper" / "r.json", report)
        assert json.loads((tmp_path / "deeper" / "r.json").read_text())["clean"]["n"] == 24
        console = Console(record=True, width=100)
        tell(console, report, [Line("x >= 1", "0.5", passed=False), Line("y", "2", passed=True)])
        said = console.export_text()
        assert "MISS  x >= 1: 0.5" in said
        assert "pass  y: 2" in said
        assert "self_blend" in said
        assert "blur" in said

    def test_no_path_no_file(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        write(None, {"a": 1})
        assert list(tmp_path.iterdir()) == []


class TestMain:
    """The whole command, with drawn people, a scorer of brightness, and threads in place of processes."""

    @pytest.fixture
    def run(self, manifest, tmp_path, pair_config, studio, brightness, monkeypatch):
        from concurrent.futures import ThreadPoolExecutor

        info = SimpleNamespace(version="brightness-1", operating_points=None)
        brightness.loaded = SimpleNamespace(info=info, config=pair_config)
        examiner = Examiner(pair_config, studio, brightness, [("blur", 1)])
        monkeypatch.setattr(robustness, "load_scorer", lambda config: brightness)
        monkeypatch.setattr(robustness, "examiner_of", lambda setup: examiner)
        monkeypatch.setattr(robustness, "ProcessPoolExecutor", lambda workers, mp_context: ThreadPoolExecutor(1))
        given = ["--checkpoint", "none.pth", "--set", "inference.checkpoint=null", "--manifest", str(manifest)]
        given += [
            "--set",
            f"dataset.pseudo_fakes.families={json.dumps(WEIGHTS)}",
            "--scores",
            str(tmp_path / "s.jsonl"),
        ]
        return lambda *further: main([*given, *further])

    def test_a_report_is_written_and_printed(self, run, tmp_path, capsys):
        assert run("--pairs", "12", "--family-pairs", "1", "--json", str(tmp_path / "r.json")) == 1
        report, said = json.loads((tmp_path / "r.json").read_text()), capsys.readouterr().out
        assert report["clean"]["n"] == 24
        assert report["families"]["table"]["eyes_swap"]["kind"] == "held_out"
        assert report["families"]["table"]["generated_swap"]["fakes"] == 1  # as many as a family's pairs
        assert report["provenance"]["model"] == "brightness-1"
        assert report["provenance"]["trained_families"] == {"mouth_swap": 1, "self_blend": 3}
        assert {"what", "found", "passed", "gate"} == set(report["acceptance"][0])
        assert all(one["what"] in said for one in report["acceptance"])

    def test_no_path_of_this_machine_is_in_the_results(self, run, tmp_path):
        run("--pairs", "4", "--family-pairs", "1", "--json", str(tmp_path / "r.json"))
        assert str(tmp_path) not in (tmp_path / "r.json").read_text()
        assert str(tmp_path) not in (tmp_path / "s.jsonl").read_text()

    def test_a_second_run_scores_nothing_anew(self, run, tmp_path, brightness):
        options = ("--pairs", "4", "--family-pairs", "1", "--json", str(tmp_path / "r.json"))
        run(*options)
        first, scored = (tmp_path / "r.json").read_text(), len(brightness.clips)
        run(*options)
        assert (tmp_path / "r.json").read_text() == first
        assert len(brightness.clips) == scored

    def test_scores_of_another_plan_are_refused(self, run):
        run("--pairs", "4", "--family-pairs", "1")
        with pytest.raises(ValueError, match="made otherwise"):
            run("--pairs", "5", "--family-pairs", "1")

    def test_the_worst_pairs_can_be_looked_at(self, run, tmp_path):
        run("--pairs", "4", "--family-pairs", "1", "--sheet", str(tmp_path / "worst.png"))
        height, width, _ = cv2.imread(str(tmp_path / "worst.png")).shape
        assert width == 4 * SIDE
        assert height % (SIDE + TEXT_HEIGHT) == 0

    def test_quick_is_few_pairs(self, run, tmp_path):
        run("--quick", "--json", str(tmp_path / "r.json"))
        assert json.loads((tmp_path / "r.json").read_text())["provenance"]["pairs"] == QUICK_PAIRS


class TestSheet:
    def test_a_row_a_pair(self, studio, brightness, make_person, tmp_path):
        person = make_person("eva")
        pairs = [(studio.pair(studio.open(person), person, "self_blend", draw), f"pair {draw}") for draw in (1, 2)]
        draw_sheet(pairs, brightness, tmp_path / "sheet.png")
        sheet = cv2.imread(str(tmp_path / "sheet.png"))
        assert sheet.shape == (2 * (SIDE + TEXT_HEIGHT), 4 * SIDE, 3)
        assert sheet[:TEXT_HEIGHT].max() > 200  # the text
        real, fake = (
            sheet[TEXT_HEIGHT : SIDE + TEXT_HEIGHT, :SIDE],
            sheet[TEXT_HEIGHT : SIDE + TEXT_HEIGHT, SIDE : 2 * SIDE],
        )
        assert not np.array_equal(real, fake)

    def test_no_pairs_no_sheet(self, brightness, tmp_path):
        with pytest.raises(ValueError, match="needs a pair"):
            draw_sheet([], brightness, tmp_path / "sheet.png")


def test_the_command_line_has_these_options():
    options = {option for action in parser()._actions for option in action.option_strings}
    assert options == {
        "-h",
        "--help",
        "--checkpoint",
        "--manifest",
        "--data-root",
        "--config",
        "--split",
        "--pairs",
        "--family-pairs",
        "--quick",
        "--workers",
        "--scores",
        "--json",
        "--sheet",
        "--set",
    }
