import pytest

from training.watch.pace import BASIS, Pace


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pace(clock: Clock) -> Pace:
    return Pace(clock)


def epoch(pace: Pace, clock: Clock, train: float, val: float) -> None:
    """One epoch whose phases take so many seconds."""
    pace.at("train", 0.0)
    clock.now += train
    pace.at("val", 0.0)
    clock.now += val
    pace.end()


def reach(pace: Pace, clock: Clock, phase: str, share: float) -> None:
    """Go on to a place in an epoch whose training takes 30 seconds."""
    if phase == "val":
        clock.now += 30
    pace.at(phase, share)


def test_nothing_is_known_without_a_basis(pace: Pace, clock: Clock) -> None:
    assert pace.left(3) is None
    clock.now += 100
    assert pace.left(3) is None
    pace.at("train", BASIS / 2)
    assert pace.left(3) is None


def test_nothing_is_left_after_the_last_epoch(pace: Pace, clock: Clock) -> None:
    assert pace.left(0) == 0
    epoch(pace, clock, 10, 2)
    assert pace.left(0) == 0


@pytest.mark.parametrize(("share", "left"), [(0.1, 90 + 200), (0.5, 10 + 40), (1.0, 0 + 20)])
def test_the_first_epoch_is_guessed_from_the_share_that_is_done(
    pace: Pace, clock: Clock, share: float, left: float
) -> None:
    pace.at("train", 0.0)
    clock.now += 10
    pace.at("train", share)
    assert pace.left(3) == pytest.approx(left)


def test_the_first_validation_counts_from_when_it_is_under_way(pace: Pace, clock: Clock) -> None:
    clock.now += 40
    pace.at("val", 0.0)
    assert pace.left(2) == pytest.approx(40)
    clock.now += 5
    pace.at("val", 0.5)
    assert pace.left(2) == pytest.approx(5 + 50)


@pytest.mark.parametrize(
    ("phase", "share", "left"),
    [
        ("train", 0.0, 100),
        ("train", 0.5, 85),
        ("train", 1.0, 70),
        ("val", 0.0, 70),
        ("val", 0.5, 60),
        ("val", 1.0, 50),
    ],
)
def test_a_finished_epoch_tells_how_long_the_others_take(
    pace: Pace, clock: Clock, phase: str, share: float, left: float
) -> None:
    epoch(pace, clock, 30, 20)
    reach(pace, clock, phase, share)
    assert pace.left(2) == pytest.approx(left)


def test_the_latest_epochs_count(pace: Pace, clock: Clock) -> None:
    epoch(pace, clock, 1000, 1000)
    for _ in range(3):
        epoch(pace, clock, 10, 2)
    assert pace.left(1) == pytest.approx(12)


def test_a_validation_too_short_to_be_heard_of_takes_nothing(pace: Pace, clock: Clock) -> None:
    pace.at("train", 0.5)
    clock.now += 10
    pace.end()
    assert pace.left(2) == pytest.approx(20)


@pytest.mark.parametrize("told", [True, False])
def test_an_epoch_that_begins_anew_is_not_as_long_as_both_tries(pace: Pace, clock: Clock, told: bool) -> None:
    pace.at("train", 0.9)
    clock.now += 500
    if told:
        pace.begin()
    pace.at("train", 0.0)
    clock.now += 10
    pace.at("train", 0.5)
    assert pace.left(1) == pytest.approx(10)


def test_a_restart_in_validation_leaves_what_was_learned(pace: Pace, clock: Clock) -> None:
    epoch(pace, clock, 30, 20)
    reach(pace, clock, "val", 0.5)
    clock.now += 500
    pace.begin()
    pace.at("train", 0.5)
    assert pace.left(1) == pytest.approx(15 + 20)


def test_the_place_in_an_epoch_never_goes_back(pace: Pace, clock: Clock) -> None:
    places = []
    for phase in ("train", "val"):
        for step in range(5):
            clock.now += 1
            pace.at(phase, step / 4)
            places.append(pace.position())
    assert places == sorted(places)
    assert places[0] == 0
    assert places[-1] == 1


@pytest.mark.parametrize(
    ("phase", "share", "place"), [("train", 0.5, 0.375), ("train", 1.0, 0.75), ("val", 0.0, 0.75), ("val", 0.5, 0.875)]
)
def test_a_phase_takes_its_share_of_the_epoch(pace: Pace, clock: Clock, phase: str, share: float, place: float) -> None:
    epoch(pace, clock, 30, 10)
    assert pace.position() == 0
    reach(pace, clock, phase, share)
    assert pace.position() == pytest.approx(place)
