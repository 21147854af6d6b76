"""Writes the figures of `docs/performance.md` anew from `benchmarks/results/*.json`.

    python benchmarks/performance.py [--results FOLDER] [--page FILE]

The page holds a block for each file, from `<!-- figures: NAME -->` to `<!-- end -->`; the rest is left as it is. A
block whose file is missing says so.
"""

import argparse
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PAGE = HERE.parent / "docs" / "performance.md"
Figures = dict[str, Any]


def main() -> None:
    """Rewrite the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    args = parser.parse_args()
    args.page.write_text(rewrite(args.page.read_text(), args.results))


def rewrite(page: str, results: Path) -> str:
    """The page with every block filled from its file."""

    def fill(match: re.Match[str]) -> str:
        """One block."""
        name = match[1]
        path = results / f"{name}.json"
        lines = block(name, json.loads(path.read_text())) if path.exists() else ["Not measured yet."]
        return "\n".join((f"<!-- figures: {name} -->", *lines, "<!-- end -->"))

    return re.sub(r"<!-- figures: (\w+) -->.*?<!-- end -->", fill, page, flags=re.DOTALL)


def block(name: str, figures: Figures) -> list[str]:
    """The lines of one block: its tables, its marks and its machine."""
    return [*SECTIONS[name](figures), *marks(figures), "", machine(figures.get("machine", {}))]


def machine(facts: Figures) -> str:
    """One sentence about where the figures are from."""
    known = ", ".join(f"{name} {value}" for name, value in facts.items())
    return f"Measured with {known}." if known else "The machine is not recorded."


def marks(figures: Figures) -> Iterator[str]:
    """Each mark, and whether it was met."""
    if figures.get("marks"):
        yield ""
        yield from (f"- {mark}: {'met' if met else '**missed**'}" for mark, met in figures["marks"].items())


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """A table in Markdown."""
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    yield from ("| " + " | ".join(map(show, row)) + " |" for row in rows)


def show(value: object) -> str:
    """A value as the page shows it: three digits where it is a fraction."""
    if not isinstance(value, float):
        return str(value)
    if not math.isfinite(value):
        return "none"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def load(figures: Figures) -> Iterator[str]:
    """Goodput by load, for each kind of model."""
    for name, kind in figures["kinds"].items():
        yield from ("", f"**{name}**: capacity {kind['capacity']:.1f} requests/s, SLO {kind['slo']:g} s.", "")
        head = ["load", "requests/s", "goodput/s", "of 1x", "p50 ms", "503: p50, max ms", "`/health/live` p99 ms"]
        full = kind["loads"]["1x"]["rate"]
        yield from table(head, [load_row(key, one, full) for key, one in kind["loads"].items()])
        yield from marks(kind)


def load_row(name: str, one: Figures, full: float) -> list[object]:
    """One load."""
    refused = "none" if "503" not in one["statuses"] else f"{one['rejected_p50']:.0f}, {one['rejected_max']:.0f}"
    return [name, one["rate"], one["goodput"], f"{one['goodput'] / full:.2f}", one["p50"], refused, one["live_p99"]]


def hostile(figures: Figures) -> Iterator[str]:
    """What became of the odd files."""
    agreement = "not known" if figures["agreement"] is None else f"{100 * figures['agreement']:.1f} %"
    rows = {
        "files": figures["files"],
        "replies by status": counts(figures["statuses"]),
        "slowest reply, s": figures["seconds"]["max"],
        "as expected": agreement,
        "largest decode child, MB": figures["largest child, MB"],
        "growth of each process, MB": counts(figures["growth, MB"]),
        "processes lost": counts(figures["deaths"]) or "none",
        "temporary files left": len(figures["temporary files"]),
    }
    yield from table(["", ""], list(rows.items()))
    if figures["disagreements"]:
        yield from ("", *table(["file", "expected", "answer"], [disagreement(one) for one in figures["disagreements"]]))


def disagreement(one: Figures) -> list[object]:
    """One answer that was not as expected."""
    return [f"`{one['file']}`", one["expected"].replace("|", " or "), f"{one['status']} {' '.join(one['words'])}"]


def bodies(figures: Figures) -> Iterator[str]:
    """How soon too large a body is refused."""
    head = [
        f"{figures['megabytes']} MiB",
        "status",
        "after, s",
        "MiB sent by then",
        "proxy, MB more",
        "ingress, MB more",
    ]
    yield from table(head, [body_row(name, case) for name, case in figures["cases"].items()])


def body_row(name: str, case: Figures) -> list[object]:
    """One way to send too much."""
    refusals, growth = case["refusals"], case["growth"]
    statuses = sorted({refusal["status"] for refusal in refusals})
    worst = [max(refusal[key] for refusal in refusals) for key in ("seconds", "sent")]
    return [name, ", ".join(map(str, statuses)), *worst, growth["proxy"], growth["Ingress"]]


def children(figures: Figures) -> Iterator[str]:
    """Bombs, and whether children last."""
    head = ["file", "answer", "s", "processor s", "MB more"]
    keys = ("code", "seconds", "processor seconds", "MB more")
    yield from table(head, [[name, *(one[key] for key in keys)] for name, one in figures["bombs"].items()])
    yield ""
    for number, soak in enumerate(figures["one child"], 1):
        yield f"- one child, round {number}: {counts(soak)}"
    yield f"- fresh children: {counts(figures['fresh children'])}"


def soak(figures: Figures) -> Iterator[str]:
    """An hour of mixed load."""
    p99 = figures["p99, ms"]
    rate = figures["capacity"] / 2
    yield f"{figures['minutes']:.0f} minutes, {figures['requests']} requests, {rate:.2f} a second."
    yield f"p99 {p99['first']:.0f} ms in the first sixth, {p99['last']:.0f} ms in the last."
    yield f"Replies: {counts(figures['statuses'])}."
    yield ""
    head = ["process", "MB a minute", "descriptors", "threads"]
    yield from table(head, [[name.split()[0], *one.values()] for name, one in figures["drifts"].items()])


def compare(figures: Figures) -> Iterator[str]:
    """Aura beside other servers."""
    head = ["server", "requests/s", "p50 s", "p95 s", "processor s a request", "idle, of a core"]
    yield from table(head, [compare_row(name, one) for name, one in figures["systems"].items()])
    yield ""
    yield f"Aura makes {figures['ratio']:.2f} of the best of the others, {figures['best of the others']};"
    yield f"`{figures['video']}`, {figures['clients']} clients, {counts(figures['packages'])}."


def compare_row(name: str, one: Figures) -> list[object]:
    """One server."""
    used = one["processor s a request"]
    together = f"{sum(used.values()):.3g} ({counts(used)})"
    return [name, one["requests/s"], one["p50"], one["p95"], together, one["processor s a second, idle"]]


def chaos(figures: Figures) -> Iterator[str]:
    """What the loss of a part costs."""
    head = ["fault", "requests", "lost", "p50 s", "p95 s", "p99 s", "back in s", "marks"]
    yield from table(head, [chaos_row(name, one) for name, one in figures.items() if name != "machine"])


def chaos_row(name: str, one: Figures) -> list[object]:
    """One fault."""
    seconds = [one["seconds"][share] for share in ("0.5", "0.95", "0.99")]
    judged = [f"{mark}: {'met' if met else '**missed**'}" for mark, met in one["marks"].items()]
    return [name, one["of"], one["lost"], *seconds, one["recovery"], ", ".join(judged)]


def counts(values: Figures) -> str:
    """Names and values in one line."""
    return ", ".join(f"{name} {show(value)}" for name, value in values.items())


SECTIONS: dict[str, Callable[[Figures], Iterator[str]]] = {
    "load": load,
    "hostile": hostile,
    "bodies": bodies,
    "children": children,
    "soak": soak,
    "compare": compare,
    "chaos": chaos,
}


if __name__ == "__main__":
    main()
