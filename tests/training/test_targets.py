from dataclasses import fields

import pytest
import torch

from training.targets import Targets

LABELS = torch.tensor([0, 1, 1])
PLACES = torch.rand(3, 2, 4, 4)
KNOWN = torch.tensor([True, True, False])


@pytest.mark.parametrize("targets", [Targets(LABELS), Targets(LABELS, PLACES, KNOWN)], ids=["labels", "places"])
def test_they_are_as_many_as_their_clips_and_move_whole(targets: Targets) -> None:
    assert len(targets) == 3
    moved = targets.to(torch.device("meta"))
    assert len(moved) == 3
    for field in fields(Targets):
        before, after = getattr(targets, field.name), getattr(moved, field.name)
        if before is None:
            assert after is None
        else:
            assert (after.device.type, after.shape, after.dtype) == ("meta", before.shape, before.dtype)


def test_what_does_not_move_is_the_same() -> None:
    stayed = Targets(LABELS, PLACES, KNOWN).to(torch.device("cpu"))
    assert stayed.places is PLACES
    assert (stayed.labels is LABELS, stayed.known is KNOWN) == (True, True)


def test_nothing_is_known_of_places_unless_it_is_said() -> None:
    assert (Targets(LABELS).places, Targets(LABELS).known) == (None, None)
