from aura_model.seeds import derive_seed


def test_seeds_tell_their_parts_apart() -> None:
    parts: list[tuple[int | str, ...]] = [
        (0, 1, "a"),
        (0, 1, "b"),
        (1, 0, "a"),
        (0, 11, "a"),
        (0, "1", "a"),
        ("0", 1, "a"),
        (0, 1, "a", 0),
        (0, 1, "a\0"),
        ("a",),
        ("a", ""),
    ]
    assert len({derive_seed(*one) for one in parts}) == len(parts)
    assert all(0 <= derive_seed(*one) < 2**64 for one in parts)


def test_seeds_are_the_same_on_every_machine() -> None:
    assert derive_seed(0, 1, "video") == 3329948625176796018
