"""One HTML file that tells of an evaluation: no network, no script; everything from outside is escaped."""

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aura_model.intervals import RESAMPLES
from aura_model.metrics import Labels, Scores
from training.evaluation.evaluation import COVERAGES, THRESHOLD, Evaluation, Group, Level, VideoScore
from training.evaluation.html_parts import counted, header, show, show_range, table, text
from training.evaluation.plots import (
    coverage_risk_plot,
    histogram_plot,
    precision_recall_plot,
    reliability_plot,
    roc_plot,
)
from training.evaluation.provenance import Provenance
from training.evaluation.remarks import warnings_of
from training.evaluation.style import CSS

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
NAMES = ("real", "fake")
FIGURES = {
    "auc": ("AUC", "area under the ROC curve", "higher"),
    "tpr_at_1fpr": ("TPR at 1 % FPR", "fakes found while at most 1 % of reals are accused", "higher"),
    "fpr_at_95tpr": ("FPR at 95 % TPR", "reals accused while 95 % of fakes are found", "lower"),
    "eer": ("EER", "error rate where both kinds of error are equal", "lower"),
    "ap": ("AP", "area under the precision-recall curve", "higher"),
    "brier": ("Brier score", "mean squared error of the probability", "lower"),
    "ece": ("ECE", "mean distance of stated from found probability, 15 bins", "lower"),
    "accuracy": ("Accuracy", "share judged rightly", "higher"),
    "precision": ("Precision", "share of fakes among those called fake", "higher"),
    "recall": ("Recall", "share of fakes called fake", "higher"),
    "f1": ("F1", "harmonic mean of precision and recall", "higher"),
}
"""Name, meaning and better direction of each figure, in the order of the report."""
GROUP_FIGURES = ("auc", "tpr_at_1fpr", "eer", "accuracy", "recall")
REALS = {"own": "its own {}", "all": "all {} of the set", "none": "no real video"}
AGGREGATIONS = {
    "mean": "mean over the clips of a face",
    "median": "median over the clips of a face",
    "max": "highest clip of a face",
    "topk": "mean over the highest quarter of the clips of a face",
}


def render_report(evaluation: Evaluation, provenance: Provenance, pictures: Mapping[str, bytes], command: str) -> str:
    """The whole page.

    Args:
        evaluation: what to tell.
        provenance: what it was of.
        pictures: JPEG by video_id, of the worst errors.
        command: makes the report again.
    """
    body = [
        _head(evaluation, provenance),
        _headline(evaluation),
        _curves(evaluation.videos),
        *(_groups(column, groups) for column, groups in evaluation.groups.items()),
        _unusable(evaluation),
        _worst(evaluation, pictures),
        _footer(provenance, evaluation, command),
    ]
    title = text(_title(provenance))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{CSS}</style></head>\n<body><main>\n{chr(10).join(body)}\n</main></body></html>\n"
    )


def _title(provenance: Provenance) -> str:
    return f"Evaluation of {provenance.checkpoint.name if provenance.checkpoint else 'an unknown model'}"


def _head(evaluation: Evaluation, provenance: Provenance) -> str:
    figures = evaluation.videos.figures
    where = f" of {provenance.data}, split {provenance.split}" if provenance.data else ""
    total = figures["n"] + evaluation.unusable_count
    lead = (
        f"{figures['n']} of {counted(total, 'video')} scored{where}: {figures['n'] - figures['positives']} real, "
        f"{figures['positives']} fake; {counted(evaluation.clips.figures['n'], 'clip')}. "
        f"A video's score is its highest face, and that is the {AGGREGATIONS[evaluation.aggregation]}."
    )
    warnings = "".join(f'<p class="warning">{text(one)}</p>' for one in warnings_of(evaluation, provenance))
    return f'<h1>{text(_title(provenance))}</h1><p class="lead">{text(lead)}</p>{warnings}'


def _headline(evaluation: Evaluation) -> str:
    videos, clips = evaluation.videos, evaluation.clips
    head = header(
        "figure",
        "what it is",
        "better",
        f"per video, n = {videos.figures['n']}",
        f"per clip, n = {clips.figures['n']}",
        numbers=2,
    )
    rows = [
        f'<tr{_first(name)}><td>{label}</td><td class="why">{meaning}</td><td class="why">{better}</td>'
        f"{_figure(videos, name)}{_figure(clips, name)}</tr>"
        for name, (label, meaning, better) in FIGURES.items()
    ]
    return f"<h2>Figures</h2>{table(head, rows)}{_explained(evaluation)}"


def _explained(evaluation: Evaluation) -> str:
    videos, known = evaluation.videos, evaluation.by_identity
    what = "videos" if not known else "identities" if known == videos.figures["n"] else "identities, or videos"
    return (
        f'<p class="note">Beside each figure: its 95 % interval, by {RESAMPLES} bootstrap resamples of the '
        f"{videos.clusters} {what} (seed {evaluation.seed}). Samples of one of these are taken together, clips too. "
        "A figure of exactly 0 or 1 has an interval of no width, which says only that these videos show no error. "
        "ECE is biased upwards where there are few samples, and in resamples more so. Accuracy, precision, recall and "
        f"F1 are at the threshold {THRESHOLD:g}; those and AP depend on the share of fakes in the set."
        f"{_without_interval(videos)}</p>"
    )


def _without_interval(level: Level) -> str:
    """Why figures that are there have no interval."""
    reasons: dict[str, list[str]] = {}
    for name, interval in level.intervals.items():
        if interval.reason and level.figures[name] is not None:
            reasons.setdefault(interval.reason, []).append(FIGURES[name][0])
    defined = len(FIGURES) - len(level.figures["undefined"])
    return "".join(
        f" No interval for {'any figure' if len(names) == defined else ', '.join(names)}: {text(reason)}."
        for reason, names in reasons.items()
    )


def _first(name: str) -> str:
    return ' class="first"' if name in ("auc", "tpr_at_1fpr") else ""


def _figure(level: Level, name: str) -> str:
    value, interval = level.figures[name], level.intervals[name]
    if value is None:
        return f'<td class="number why">\N{EN DASH} {text(interval.reason)}</td>'
    beside = show_range(interval) or ("no interval" if interval.reason else "")
    left = f", {interval.left_out} resamples left out" if interval.left_out else ""
    return (
        f'<td class="number" title="{text(interval.reason or "95 % interval" + left)}">{show(value)} '
        f'<span class="range">{beside}</span></td>'
    )


def _curves(level: Level) -> str:
    total, fakes = level.figures["n"], level.figures["positives"]
    n = f"n = {total - fakes} real and {fakes} fake videos"
    one_class = level.figures["undefined"].get("auc", "")
    empty = "" if total else one_class
    marked = f"{n}. Right: the same curve where few reals are accused; TPR at 1 % and 5 % FPR is marked."
    plots = [
        f'<figure class="wide">{_plot(roc_plot, level, "ROC", marked, one_class)}</figure>',
        *(
            f"<figure>{_plot(draw, level, title, f'{n}{caption}', missing)}</figure>"
            for draw, title, caption, missing in (
                (precision_recall_plot, "Precision and recall", ". Dashed: all called fake.", one_class),
                (reliability_plot, "Reliability", ", in 15 bins. Below: videos in each bin.", empty),
                (_coverage_risk, "Coverage and risk", _selective_caption(level), empty),
                (_histogram, "Scores by class", ". Each class adds up to 100 %.", empty),
            )
        ),
        f"<figure>{_confusion(level)}</figure>",
    ]
    return f'<h2>Videos: curves and scores</h2><div class="plots">{"".join(plots)}</div>'


def _plot(draw: Callable[[Labels, Scores], str], level: Level, title: str, caption: str, missing: str) -> str:
    drawn = f"<p>Not drawn: {text(missing)}.</p>" if missing else draw(level.labels, level.probabilities)
    return f"<h3>{title}</h3>{drawn}<figcaption>{text(caption)}</figcaption>"


def _coverage_risk(labels: Labels, probabilities: Scores) -> str:
    return coverage_risk_plot(labels, probabilities, THRESHOLD)


def _selective_caption(level: Level) -> str:
    """What abstaining would buy."""
    curve = level.selective
    if curve is None:
        return ""
    shares = ", ".join(f"{curve.risk_at(share):.1%} of the surest {share:.0%}" for share in COVERAGES)
    return f". Wrong: {shares}; mean over all coverages {curve.area:.3f}."


def _histogram(labels: Labels, probabilities: Scores) -> str:
    return histogram_plot(labels, probabilities, THRESHOLD)


def _confusion(level: Level) -> str:
    counts = level.figures["confusion"]
    head = header("", "called real", "called fake", "n", numbers=3)
    rows = [
        _confusion_row(label, right, wrong)
        for label, right, wrong in ((0, counts["tn"], counts["fp"]), (1, counts["tp"], counts["fn"]))
    ]
    return (
        f"<h3>Confusion matrix</h3>{table(head, rows)}<figcaption>Videos, at the threshold {THRESHOLD:g}; "
        "in brackets the share of the row.</figcaption>"
    )


def _confusion_row(label: int, right: int, wrong: int) -> str:
    total = right + wrong
    cells = [f"{count} ({count / total:.1%})" if total else "0" for count in (right, wrong)]
    real_first = cells[::-1] if label else cells
    numbers = "".join(f'<td class="number">{cell}</td>' for cell in [*real_first, total])
    return f'<tr><td class="{NAMES[label]}">{NAMES[label]}</td>{numbers}</tr>'


def _groups(column: str, groups: Sequence[Group]) -> str:
    labels = [FIGURES[name][0] for name in GROUP_FIGURES]
    head = header("group", "own fake", "own real", "judged against", *labels, numbers=len(labels))
    rows = [_group_row(group) for group in groups]
    note = (
        "Worst AUC first. A group with fakes alone, such as one method of forgery, is compared with all real videos of "
        "the set; every other group with its own. Videos without a value are the group (blank)."
    )
    return f'<h2>By {text(column)}</h2><p class="note">{note}</p>{table(head, rows, "stacked")}'


def _group_row(group: Group) -> str:
    numbers = "".join(f"<td>{count}</td>" for count in (group.own_fake, group.own_real))
    figures = "".join(_figure(group.level, name) for name in GROUP_FIGURES)
    reals = group.level.figures["n"] - group.level.figures["positives"]
    against = REALS[group.reals].format(counted(reals, "real"))
    return f'<tr><td class="name">{text(group.value)}</td>{numbers}<td>{against}</td>{figures}</tr>'


def _unusable(evaluation: Evaluation) -> str:
    if not evaluation.unusable:
        return "<h2>Videos without a score</h2><p>None: every video was scored.</p>"
    head = header("code", "real", "fake", numbers=2)
    rows = [
        f'<tr><td class="name">{text(one.code)}</td><td class="number">{one.real}</td>'
        f'<td class="number">{one.fake}</td></tr>'
        for one in evaluation.unusable
    ]
    return (
        f"<h2>Videos without a score</h2><p>{evaluation.unusable_count} in all; skipped.csv names each with its "
        f"reason.</p>{table(head, rows)}"
    )


def _worst(evaluation: Evaluation, pictures: Mapping[str, bytes]) -> str:
    total = evaluation.videos.figures["n"]
    if not evaluation.worst:
        return f"<h2>Worst errors</h2><p>None among {counted(total, 'scored video')}.</p>"
    tiles = "".join(_tile(one, pictures.get(one.video.video_id, b"")) for one in evaluation.worst)
    return (
        f"<h2>Worst errors</h2><p>{evaluation.wrong} of {counted(total, 'scored video')} on the wrong side of the "
        f"threshold; here the {len(evaluation.worst)} surest. The picture is of the most misleading clip.</p>"
        f'<ul class="sheet">{tiles}</ul>'
    )


def _tile(one: VideoScore, jpeg: bytes) -> str:
    label = NAMES[one.video.label]
    uri = f"data:image/jpeg;base64,{b64encode(jpeg).decode()}"
    picture = f'<img src="{uri}" alt="face" width="96" height="96">' if jpeg else '<div class="none">no picture</div>'
    name = text(one.video.video_id)
    return (
        f'<li>{picture}<div class="name" title="{name}">{name}</div>is <span class="{label}">{label}</span>, '
        f"scored {one.fake_probability:.4f}</li>"
    )


def _footer(provenance: Provenance, evaluation: Evaluation, command: str) -> str:
    checkpoint = provenance.checkpoint
    facts: dict[str, Any] = {
        "Checkpoint": f"{checkpoint.name}, epoch {checkpoint.epoch}" if checkpoint else "not known",
        "SHA-256 of the checkpoint": checkpoint.sha256 if checkpoint else None,
        "Data": f"{provenance.data}, split {provenance.split}" if provenance.data else None,
        "Scored": provenance.scored_at,
        "SHA-256 of the table of scores": provenance.table_sha256,
        "Settings": f"aggregation {evaluation.aggregation}, threshold {THRESHOLD:g}, seed {evaluation.seed}",
        "Versions": ", ".join(f"{name} {number}" for name, number in provenance.versions.items()),
    }
    rows = "".join(f"<tr><th>{name}</th><td>{text(value)}</td></tr>" for name, value in facts.items() if value)
    return (
        f"<footer><h2>Where this comes from</h2><table>{rows}</table><p>To make this report again from the table of "
        f"scores, without a network or the videos:</p><pre>{text(command)}</pre></footer>"
    )
