"""Pairs of unseen people: any family on any person, with a fitting donor or partner where the family needs one."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from aura_model.augment.donor import nearest_donors
from aura_model.augment.families import HELD_OUT
from aura_model.augment.forgery import Material
from aura_model.augment.pairs import GENERATED
from aura_model.config import Config
from aura_model.errors import ConfigError
from aura_model.seeds import derive_seed
from training.data.manifest import Sample
from training.pairing.pairs import Draw, Pair, PairSource, PartnerLookup
from training.rows import EVALUATION, Row, RowSource, path_row

NEAREST = 3
"""Donors among which one is drawn: those whose pose fits best."""


class Studio:
    """Makes pairs; the same (person, family, draw) gives the same pair."""

    def __init__(
        self, config: Config, loose_rows: RowSource, donors: Sequence[Sample], partners: PartnerLookup | None = None
    ) -> None:
        """Take loose crops from `loose_rows`, see `training.pairing.pairs.PairSource`; donors are of these people.

        Args:
            config: the recipe.
            loose_rows: the crops.
            donors: whose faces are put on others.
            partners: of fakes, where there are any.

        Raises:
            ConfigError: the configuration makes no pseudo-fakes, so it says nothing of loose crops.
        """
        if not config.dataset.pseudo_fakes.enabled:
            raise ConfigError("dataset.pseudo_fakes.enabled is false: pass the recipe that the model was trained by")
        self._seed, self._people = config.seed, donors
        self._pairs = PairSource(config, loose_rows, partners)

    def open(self, sample: Sample) -> list[Row]:
        """The loose crops of a person; none where no face can be had."""
        return [row for row in self._pairs.loose_rows(path_row(sample)) if not row["error"] and row["has_video"]]

    def pair(self, rows: Sequence[Row], sample: Sample, family: str, draw: int) -> Pair | None:
        """One pair of a person's crops; None without crops, or for want of a donor.

        Args:
            rows: what `open` gave.
            sample: whom they show.
            family: of the forgery; for a fake one of `GENERATED`, which puts it beside its genuine partner.
            draw: numbers the pairs of one person.
        """
        donors = self._fitting(rows, sample) if rows and family in HELD_OUT else []
        if not rows or (family in HELD_OUT and not donors):
            return None
        drawn = path_row(sample) | {"epoch": draw}
        if family in GENERATED:
            return next(self._pairs.pairs_beside(rows, drawn, Draw(1, {}, {family: 1.0})), None)
        return next(self._pairs.pairs_of(rows, drawn, Draw(1, {family: 1.0}, {}), donors))

    @cached_property
    def _donors(self) -> list[tuple[str, Material]]:
        opened = ((person, self.open(person)) for person in self._people)
        return [(person_of(person), self._material(rows[0])) for person, rows in opened if rows]

    def _material(self, row: Row) -> Material:
        rng = np.random.default_rng(derive_seed(self._seed, EVALUATION, str(row["video_id"])))
        return self._pairs.material(row, rng)

    def _fitting(self, rows: Sequence[Row], sample: Sample) -> list[Material]:
        others = [material for person, material in self._donors if person != person_of(sample)]
        if not others:
            return []
        order = nearest_donors(rows[0]["landmarks"][0], np.stack([one.landmarks[0] for one in others]))
        return [others[place] for place in order[:NEAREST]]


def person_of(sample: Sample) -> str:
    """Whom a sample shows, as far as the data set says."""
    return sample.identity or sample.video_id
