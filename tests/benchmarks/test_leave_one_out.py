import json
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import leave_one_out
import pytest
from leave_one_out import ALL, LAUNCH, ROBUSTNESS, WILD, made, main, parser, rows_of, trained

from aura_model.settings import load_config

FAMILIES = {"self_blend": 0.8, "generated_face": 0.2}
GENERATED = {"generated_person": 0.5, "generated_swap": 0.5}
ROWS = [ALL, *FAMILIES, *GENERATED]


def figure(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


class Scripts:
    """Stand for the scripts: note how they are called, and write what they would."""

    def __init__(self) -> None:
        self.called: list[tuple[Path, dict[str, str], set[str]]] = []
        self.fails: Path | None = None

    def run(self, command, check):
        assert not check
        _, script, *words = command
        settings = {word.removeprefix("--set=") for word in words if word.startswith("--set=")}
        plain = [word for word in words if not word.startswith("--set=")]
        options = {name: value for name, value in pairwise(plain) if name.startswith("--")}
        self.called.append((script, options, settings))
        if script == self.fails:
            return SimpleNamespace(returncode=3)
        self._write(script, options, settings)
        return SimpleNamespace(returncode=int(script != LAUNCH))  # the others miss a demand

    def _write(self, script, options, settings) -> None:
        if script == LAUNCH:
            (output,) = (Path(one.partition("=")[2]) for one in settings if one.startswith("training.output="))
            output.mkdir(parents=True)
            (output / "multimodal_best_0.7000.pth").touch()
            return
        name = Path(options["--checkpoint"]).parent.name
        auc = 0.9 - 0.1 * ROWS.index(name)
        families = {"table": {"self_blend": {"auc": figure(auc)}, "donor_blend": {"auc": figure(auc / 2)}}}
        systems = {name: {"Aura": figure(auc / 3), "constant": figure(0.5)} for name in ("overall", "talking_head")}
        report = {"families": families} if script == ROBUSTNESS else {"auc": systems}
        Path(options["--json"]).write_text(json.dumps(report))

    def settings_of(self, missing: str) -> set[str]:
        """Those of a row's training."""
        return next(found for _, _, found in self.called if any(one.endswith(f"/{missing}") for one in found))


@pytest.fixture
def scripts(monkeypatch) -> Scripts:
    scripts = Scripts()
    monkeypatch.setattr(leave_one_out.subprocess, "run", scripts.run)
    return scripts


@pytest.fixture
def run(tmp_path, scripts):
    """The command with a small recipe."""
    (tmp_path / "recipe.yaml").write_text(
        f"dataset: {{pseudo_fakes: {{enabled: true, families: {json.dumps(FAMILIES)}}}}}\nseed: 7\n"
    )
    given = ["--manifest", "faces.csv", "--output", str(tmp_path / "out"), "--config", str(tmp_path / "recipe.yaml")]
    return lambda *further: main([*given, *further])


class TestRows:
    def test_the_first_has_all_and_each_other_lacks_one(self):
        config = load_config(
            env={}, overrides=[f"dataset.pseudo_fakes.families={json.dumps(FAMILIES | {'eyes_swap': 0})}"]
        )
        assert [row.missing for row in rows_of(config)] == ROWS
        assert next(rows_of(config)).overrides == ()

    def test_their_settings_can_be_loaded_and_leave_out_that_family_alone(self):
        given = (f"dataset.pseudo_fakes.families={json.dumps(FAMILIES)}",)
        for row in list(rows_of(load_config(env={}, overrides=given)))[1:]:
            pseudo_fakes = load_config(env={}, overrides=[*given, *row.overrides]).dataset.pseudo_fakes
            left = {
                name for weights in (pseudo_fakes.families, pseudo_fakes.generated) for name, w in weights.items() if w
            }
            assert left == {*FAMILIES, *GENERATED} - {row.missing}


class TestMain:
    def test_every_row_is_trained_and_tried(self, run, scripts, tmp_path):
        run("--epochs", "3", "--family-pairs", "9", "--wild", "videos")
        assert [script for script, _, _ in scripts.called] == [LAUNCH, ROBUSTNESS, WILD] * len(ROWS)
        _, trained_by, _ = scripts.called[0]
        assert trained_by["--manifest"] == "faces.csv"
        _, tried_by, _ = scripts.called[1]
        assert (tried_by["--family-pairs"], tried_by["--manifest"]) == ("9", "faces.csv")
        assert tried_by["--checkpoint"] == str(tmp_path / "out" / ALL / "multimodal_best_0.7000.pth")

    def test_rows_differ_by_what_they_lack_alone(self, run, scripts, tmp_path):
        run("--epochs", "3", "--set", "training.batch_size=4")
        common = {"training.epochs=3", "training.scheduler.period=3", "training.batch_size=4"}
        whole = scripts.settings_of(ALL)
        assert whole == common | {f"training.output={tmp_path / 'out' / ALL}"}
        lacking = scripts.settings_of("generated_swap")
        assert lacking - common == {
            f"training.output={tmp_path / 'out' / 'generated_swap'}",
            "dataset.pseudo_fakes.generated.generated_swap=0",
        }

    def test_the_matrix_is_written_and_printed(self, run, tmp_path, capsys):
        run("--wild", "videos", "--json", str(tmp_path / "results" / "matrix.json"))
        report = json.loads((tmp_path / "results" / "matrix.json").read_text())
        assert (report["epochs"], report["seed"], report["family_pairs"]) == (2, 7, 200)
        assert list(report["rows"]) == ROWS
        assert report["rows"]["self_blend"]["self_blend"] == figure(0.8)
        assert report["rows"]["self_blend"]["wild, overall"]["value"] == pytest.approx(0.8 / 3)
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        (told,) = (line for line in lines if "donor_blend" in line)
        assert [word for word in told if "." in word] == ["0.450", "0.400", "0.350", "0.300", "0.250"]

    def test_without_videos_the_wild_is_left_out(self, run, scripts, capsys):
        run()
        assert WILD not in [script for script, _, _ in scripts.called]
        assert "wild" not in capsys.readouterr().out

    def test_what_is_there_is_not_made_again(self, run, scripts, tmp_path):
        run()
        (tmp_path / "out" / "self_blend" / "robustness.json").unlink()
        scripts.called.clear()
        run()
        assert [script for script, _, _ in scripts.called] == [ROBUSTNESS]

    @pytest.mark.parametrize("script", [LAUNCH, ROBUSTNESS, WILD])
    def test_a_script_that_fails_ends_the_command(self, run, scripts, script):
        scripts.fails = script
        with pytest.raises(SystemExit) as ended:
            run("--wild", "videos")
        assert ended.value.code == 3
        assert scripts.called[-1][0] == script


def test_a_store_names_its_own_videos(tmp_path, scripts):
    config = load_config(env={}, overrides=["dataset.preprocessing.mode=preextracted"])
    args = parser().parse_args(["--manifest", "faces.csv", "--output", str(tmp_path)])
    trained(next(rows_of(config)), config, args)
    assert "--manifest" not in scripts.called[0][1]


def test_a_script_that_makes_nothing_and_says_nothing_has_failed(tmp_path, monkeypatch):
    monkeypatch.setattr(leave_one_out.subprocess, "run", lambda command, check: SimpleNamespace(returncode=0))
    with pytest.raises(SystemExit) as ended:
        made(tmp_path / "x.json", WILD)
    assert ended.value.code == 1
