"""How good is Aura on videos that nobody here made, beside detectors that should know less?

    python benchmarks/wild.py FOLDER [--checkpoint default] [--faces FACES.csv] [--baseline NAME=FILE]
        [--json benchmarks/results/wild.json]

FOLDER holds `manifest.csv` with the columns file, label, kind, group and pair (see `scrutiny.wild_clips`). Aura's own
predictor scores each video; on the very same crops, in the same run, score

- a constant;
- a classifier of width, height, frame rate, duration, sound and codec, fitted on the other groups of this very folder,
  which favours it;
- a logistic regression on ImageNet features, fitted on genuine faces and pseudo-fakes of the train split of `--faces`;
- any checkpoint of `--baseline`, such as one that the same pipeline trained on wholly generated faces, without
  self-blending. It must cut its crops as Aura does.

AUCs are per video, with intervals by bootstrap over `group`, overall, by kind, and on matched pairs. A video without a
probability counts as a half. Exit status 1: a demand is missed, other than the ambitions.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track
from rich.table import Table
from robustness import RECIPE, shuffled, tell_demands, write
from scrutiny.acceptance import IN_FORCE, Line
from scrutiny.baselines import Features, LinearProbe, metadata_probabilities, video_probability
from scrutiny.clustered import auc_table, lead, pairs_won
from scrutiny.figures import decisions
from scrutiny.studio import Studio
from scrutiny.wild_clips import WildClip, matched, read_wild

from aura_model.calibration import Band, band_in_force
from aura_model.config import Config
from aura_model.errors import ConfigError
from aura_model.metrics import compute_ece
from aura_model.predictor import Prediction, Predictor, load_scorer
from aura_model.scoring import Scorer
from aura_model.settings import load_config, override
from training.data.manifest import read_samples
from training.extraction import MediaRows
from training.pairing.loose import loose

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]
AURA = "Aura"
PROBE_PAIRS = 300
SWAP = "face_swap"
MOST_CALLED_FAKE = 0.10
AMBITION, AMBITION_SWAPS = 0.85, 0.90
WIDTH = 140
"""Least columns of what is printed."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What was found about the videos of a folder."""

    clips: Sequence[WildClip]
    predictions: Sequence[Prediction | None]
    """None: the video could not be read."""
    config: Config
    """As the predictor cuts its clips."""

    @property
    def labels(self) -> list[int]:
        """1 is fake."""
        return [clip.label for clip in self.clips]

    @property
    def groups(self) -> list[str]:
        """Of dependent videos."""
        return [clip.group for clip in self.clips]

    @property
    def bands(self) -> dict[str, Band]:
        """The band that decides, and that of each operating point of the model."""
        points = next((one.analysis.model.operating_points for one in self.predictions if one), None)
        named: dict[str, Band] = {point.name: point.band for point in points.ordered} if points else {}
        return {IN_FORCE: band_in_force(points, self.config.inference), **named}

    @property
    def aura(self) -> Floats:
        """Aura's probability of each video; a half where there is none."""
        found = [one.analysis.fake_probability if one else None for one in self.predictions]
        return np.array([0.5 if value is None else value for value in found])


def parser() -> argparse.ArgumentParser:
    """The command line's surface."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("--checkpoint", default="default", help="a file, or `default`: the one in the package")
    options.add_argument("--config", type=Path, help="settings of the predictor")
    options.add_argument("--faces", type=Path, help="manifest of faces, for the linear probe")
    options.add_argument("--recipe", type=Path, default=RECIPE, help="whose pseudo-fakes the linear probe learns")
    options.add_argument("--probe-pairs", type=int, default=PROBE_PAIRS)
    options.add_argument("--baseline", action="append", default=[], metavar="NAME=FILE", help="repeatable")
    options.add_argument("--json", type=Path)
    options.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Score, compare, print; returns the exit status."""
    args, console = (
        parser().parse_args(argv),
        Console(soft_wrap=True, highlight=False, width=max(WIDTH, Console().width)),
    )
    given = [override("inference.checkpoint", args.checkpoint), *args.set]
    answers = predict(read_wild(args.folder), load_config(args.config, overrides=given))
    systems = {AURA: answers.aura, **baselines(answers, args)}
    report = judge(answers, systems)
    demands = lines(report)
    write(args.json, report | {"acceptance": [one.plain() for one in demands]})
    tell(console, report, demands)
    return int(not all(one.passed for one in demands if one.gate))


def predict(clips: Sequence[WildClip], config: Config) -> Answers:
    """Aura's answers."""
    with Predictor(config) as predictor:
        found = predictor.predict_all([clip.path for clip in clips])
        watched = track(found, "videos", len(clips), console=Console(stderr=True))
        answers = [one if isinstance(one, Prediction) else None for one in watched]
    return Answers(clips, answers, load_scorer(config).loaded.config)


def baselines(answers: Answers, args: argparse.Namespace) -> dict[str, Floats]:
    """The other systems' probabilities of the same videos, from the same crops."""
    media = [one.clips.media if one else None for one in answers.predictions]
    found = {
        "constant": np.full(len(answers.clips), 0.5),
        "metadata only": metadata_probabilities(media, answers.labels, answers.groups),
    }
    if args.faces:
        probe = fitted_probe(args, answers.config)
        found["ImageNet linear probe"] = over_videos(answers, probe)
    for text in args.baseline:
        name, _, file = text.partition("=")
        found[name] = over_videos(answers, OddsOf(same_crops(name, file, answers.config)))
    return found


def fitted_probe(args: argparse.Namespace, config: Config) -> LinearProbe:
    """The linear probe, fitted on crops like the predictor's."""
    recipe = load_config(args.recipe, overrides=[override("dataset.manifest", args.faces.absolute())])
    cut = recipe.dataset.model_copy(
        update={"face": config.dataset.face, "video": config.dataset.video, "audio": config.dataset.audio}
    )
    recipe = recipe.model_copy(update={"dataset": cut})
    genuine = [one for one in read_samples(recipe.dataset) if one.split == "train" and not one.label]
    weights = {str(name): weight for name, weight in recipe.dataset.pseudo_fakes.families.items() if weight}
    probe = LinearProbe(Features())
    studio = Studio(recipe, MediaRows(loose(recipe)), [])
    probe.fit(studio, shuffled(genuine, recipe.seed), weights, args.probe_pairs)
    return probe


class OddsOf:
    """A scorer's log-odds alone."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def score(self, clips: Sequence[Any]) -> list[float]:
        """Log-odds of fake of each clip."""
        return [one.fake for one in self._scorer.score(clips)]


def same_crops(name: str, file: str, config: Config) -> Scorer:
    """The scorer of a checkpoint that takes the crops as they are.

    Raises:
        ConfigError: it was trained on crops that are cut otherwise.
    """
    overrides = [override("inference.checkpoint", file), f"inference.device={config.inference.device}"]
    scorer = load_scorer(load_config(overrides=overrides))
    ours, theirs = (
        (video.frame_rate, video.temporal_window, face.margin, face.size)
        for video, face in ((one.dataset.video, one.dataset.face) for one in (config, scorer.loaded.config))
    )
    if ours != theirs:
        raise ConfigError(f"--baseline {name}: rate, frames, margin and size of its clips are {theirs}, Aura's {ours}")
    return scorer


def over_videos(answers: Answers, system: LinearProbe | OddsOf) -> Floats:
    """A system's probability of each video."""
    watched = track(answers.predictions, "baseline", console=Console(stderr=True))
    return np.array(
        [video_probability(one.clips.clips, system.score(one.clips.clips)) if one else 0.5 for one in watched]
    )


def judge(answers: Answers, systems: Mapping[str, Floats]) -> dict[str, Any]:
    """Everything as plain types."""
    labels, ours = answers.labels, systems[AURA]
    pairs = {"matched pairs": matched(answers.clips), "matched swaps": matched(answers.clips, SWAP)}
    pairs = {name: found for name, found in pairs.items() if len(found)}
    places = {"overall": np.arange(len(labels)), **{name: found.T.ravel() for name, found in pairs.items()}}
    tables = {**places, **places_of_kinds(answers.clips)}
    return {
        "auc": {name: auc_table(systems, labels, answers.groups, chosen) for name, chosen in tables.items()},
        "pairs_won": {
            name: {system: pairs_won(*scores[found.T]) for system, scores in systems.items()}
            for name, found in pairs.items()
        },
        "leads": {name: leads(answers, systems, chosen) for name, chosen in places.items()},
        "ece": compute_ece(labels, ours),
        "decisions": decisions(labels, log_odds_of(ours).tolist(), answers.bands),
        "clips": [clip_row(answers, systems, place) for place in range(len(labels))],
    }


def places_of_kinds(clips: Sequence[WildClip]) -> dict[str, Places]:
    """For each kind of forgery, the places of all genuine videos and of its own."""
    kinds = sorted({clip.kind for clip in clips if clip.label})
    return {
        kind: np.array([place for place, clip in enumerate(clips) if not clip.label or clip.kind == kind], np.intp)
        for kind in kinds
    }


def leads(answers: Answers, systems: Mapping[str, Floats], chosen: Places) -> dict[str, Any]:
    """How far Aura is ahead of each other system on these videos."""
    labels, groups = answers.labels, answers.groups
    ours, kept, among = systems[AURA][chosen], [labels[one] for one in chosen], [groups[one] for one in chosen]
    others = {name: scores for name, scores in systems.items() if name != AURA}
    return {name: lead(kept, ours, scores[chosen], among) for name, scores in others.items()}


def clip_row(answers: Answers, systems: Mapping[str, Floats], place: int) -> dict[str, Any]:
    """One video: what it is, and what each system says."""
    clip, prediction = answers.clips[place], answers.predictions[place]
    return {
        "file": clip.file,
        "label": clip.label,
        "kind": clip.kind,
        "group": clip.group,
        "verdict": prediction.analysis.verdict if prediction else None,
        "reasons": list(prediction.analysis.reasons) if prediction else ["unreadable"],
        "clips": len(prediction.clips.clips) if prediction else 0,
        **{name: round(float(scores[place]), 5) for name, scores in systems.items()},
    }


def log_odds_of(probabilities: Floats) -> Floats:
    """The inverse of the logistic function, finite."""
    held = np.clip(probabilities, 1e-12, 1 - 1e-12)
    return np.asarray(np.log(held) - np.log1p(-held))


def lines(report: Mapping[str, Any]) -> list[Line]:
    """Each demand: what was found, and whether it passes."""
    found, demands = report["auc"], []
    if "matched pairs" in found:
        pairs = found["matched pairs"][AURA]
        low = pairs["low"]
        demands.append(Line("matched pairs: AUC interval above 0.5", said(pairs), low is not None and low > 0.5))
    for place, others in report["leads"].items():
        if place != "matched swaps":
            demands += [Line(f"{place}: above {name}", said(one), one["value"] > 0) for name, one in others.items()]
    called = report["decisions"].get("balanced", report["decisions"][IN_FORCE])["reals"]["fake"]
    demands.append(Line(f"reals called fake <= {MOST_CALLED_FAKE:.2f}", f"{called:.3f}", called <= MOST_CALLED_FAKE))
    overall = found["overall"][AURA]
    demands.append(Line(f"ambition: AUC >= {AMBITION:.2f}", said(overall), overall["value"] >= AMBITION, gate=False))
    if "matched swaps" in found:
        swaps = found["matched swaps"][AURA]
        reached = swaps["value"] >= AMBITION_SWAPS
        demands.append(Line(f"ambition: swap pairs >= {AMBITION_SWAPS:.2f}", said(swaps), reached, gate=False))
    return demands


def said(figure: Mapping[str, Any]) -> str:
    """A figure and its interval."""
    beside = "no interval" if figure["low"] is None else f"[{figure['low']:.3f}, {figure['high']:.3f}]"
    return f"{figure['value']:.3f} {beside}"


def tell(console: Console, report: Mapping[str, Any], demands: Sequence[Line]) -> None:
    """Print AUCs, decisions and demands."""
    systems = list(report["auc"]["overall"])
    table = Table("AUC", "fakes", *systems)
    for name, row in report["auc"].items():
        table.add_row(name, str(row[AURA]["fakes"]), *(said(row[system]) for system in systems))
    console.print(table)
    for name, sides in report["decisions"].items():
        shares = (f"{side} {kind} {sides[side][kind]:.2f}" for side in sides for kind in ("fake", "real", "uncertain"))
        console.print(f"{name}: {', '.join(shares)}")
    tell_demands(console, demands)


if __name__ == "__main__":
    sys.exit(main())
