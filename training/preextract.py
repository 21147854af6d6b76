"""`python training/preextract.py`: extract the clips of a data set once, into a store that training reads."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial

from rich.console import Console
from rich.markup import escape

from aura_model.config import Config
from aura_model.logging import setup_logging
from aura_model.settings import load_config
from training.command_line import (
    EXIT_FAILED,
    auto_split_option,
    data_options,
    fail,
    given_overrides,
    run_command,
    settings_options,
    warn,
    whole_number,
)
from training.data.leakage import refuse_leaks
from training.data.manifest import Sample, read_samples
from training.pairing.loose import loose
from training.store.check import same_media, skip_summary, too_many_skipped, write_skipped
from training.store.files import StoreFiles
from training.store.index import StoredVideo, read_locations
from training.store.settings import store_settings
from training.store.work import Work, plan_work

GOES_ON = "run it again to go on"


def parser() -> argparse.ArgumentParser:
    """The command line's surface."""
    options = argparse.ArgumentParser(
        prog="python training/preextract.py",
        description="Extract the clips of every video once, with Ray Data. Run it again to go on where it stopped.",
        epilog="Exit status: 0 the store is complete, 1 the run failed or too many videos cannot be used, 2 refused "
        "before any work, 130 interrupted.",
    )
    data_options(options)
    auto_split_option(options)
    options.add_argument("--store", metavar="DIR|URI", help="where the clips go")
    options.add_argument(
        "--num-workers", type=whole_number, metavar="N", help="extraction actors; one per CPU by default"
    )
    settings_options(options)
    return options


def overrides_of(arguments: argparse.Namespace) -> list[str]:
    """The command line as `section.key=value` strings, weakest first."""
    return given_overrides(arguments, {"store": "dataset.preprocessing.store"})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(
        partial(_preextract, parser().parse_args(argv)),
        failed=lambda error: fail(EXIT_FAILED, f"the extraction failed: {error}; {GOES_ON}"),
        interrupted=f"interrupted; {GOES_ON}",
    )


def _preextract(arguments: argparse.Namespace, console: Console) -> int:
    config = loose(load_config(arguments.config, overrides=overrides_of(arguments)))
    samples = read_samples(config.dataset)
    refuse_leaks(samples)
    files = StoreFiles(config.dataset.preprocessing.store)
    settings = store_settings(config)
    locations = read_locations(files, config, settings)
    work = plan_work(samples, locations, config.dataset.preprocessing.videos_per_file)
    _announce(work, files, console)
    if work.groups:
        setup_logging(config.logging)
        write_skipped(files, [one.video for one in locations])  # a store that cannot be written is told before
        if not _extract(config, files, work, arguments.num_workers, console):
            return EXIT_FAILED
    stored = [location.video for location in read_locations(files, config, settings)]
    return _conclude(files, samples, stored, config.dataset.max_skipped, console)


def _announce(work: Work, files: StoreFiles, console: Console) -> None:
    place = escape(files.location)
    if work.foreign:
        warn(console, f"{files.location} also holds {work.foreign} videos that this data set does not name")
    if work.groups:
        console.print(f"{work.done} videos are in {place} already, {work.total} to extract")
    else:
        console.print(f"nothing to do: all {work.done} videos are in {place}")


def _extract(config: Config, files: StoreFiles, work: Work, actors: int | None, console: Console) -> bool:
    """Whether all went well; else it is told."""
    import ray  # takes seconds, as what follows: bad arguments are told before

    from training.plan import plan_extractors
    from training.run import ray_cluster
    from training.store.extractor import ExtractionError, extract
    from training.watch.video_progress import VideoProgress

    with ray_cluster(local=False):
        resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
        plan = plan_extractors(resources.get("CPU", 0.0), resources.get("memory", 0.0), actors)
        try:
            with VideoProgress(work.total, console) as progress:
                for report in extract(config, files.location, work.groups, plan):
                    progress.advance(failed=bool(report["code"]))
        except ExtractionError as error:
            fail(EXIT_FAILED, f"extraction failed: {error.detail}; {GOES_ON}")
            return False
    return True


def _conclude(
    files: StoreFiles, samples: Sequence[Sample], stored: Sequence[StoredVideo], most: float, console: Console
) -> int:
    """Tell what the store holds; what is wrong with it makes the exit status."""
    named = {sample.video_id for sample in samples}
    videos = [video for video in stored if video.video_id in named]
    write_skipped(files, stored)
    clips = sum(video.clips for video in videos)
    console.print(f"{escape(files.location)} holds {clips} clips of {len(videos)} videos")
    for line in skip_summary(videos):
        warn(console, f"  {line}")
    problems = [*too_many_skipped(videos, most), *same_media(stored)]
    return fail(EXIT_FAILED, "\n".join(problems)) if problems else 0


if __name__ == "__main__":
    sys.exit(main())
