"""Seeds that depend on what is seeded, not on who works on it or in which order."""

import hashlib


def derive_seed(*parts: int | str) -> int:
    """A 64-bit seed from any parts, such as (seed, epoch, video_id, clip).

    The same parts give the same seed in every process and on every machine; different parts give unrelated seeds.
    """
    text = "\0".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big")
