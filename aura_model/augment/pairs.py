"""A real clip and its forgery with everything after the forgery shared: colour, blur, noise, size, codec, crop.

What differs between the two is the forgery and nothing else, so a detector can learn nothing else.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from aura_model.augment.donor import generated_swap
from aura_model.augment.families import FAMILIES
from aura_model.augment.forgery import Forge, Forgery, Material, null_blend
from aura_model.augment.rendering import DEFAULT_SETTINGS, RenderedClip, RenderSettings, draw_shared, filmed, render

RealAndFake = tuple[RenderedClip, RenderedClip]


def render_pair(
    material: Material, family: str, rng: np.random.Generator, settings: RenderSettings = DEFAULT_SETTINGS
) -> RealAndFake:
    """Forge a material and render both clips alike.

    Returns:
        The real one and the fake one.

    Raises:
        KeyError: there is no such family.
        ValueError: a donor family without a donor.
    """
    return _forged(material, FAMILIES[family], rng, settings)


def _forged(material: Material, forge: Forge, rng: np.random.Generator, settings: RenderSettings) -> RealAndFake:
    forging, sharing = rng.spawn(2)
    shared = draw_shared(sharing, *material.size, settings)
    footage = filmed(material, shared)
    clips = null_blend(footage, forging), forge(footage, forging)
    real, fake = (render(clip, material.landmarks, shared, settings) for clip in clips)
    return real, fake


def render_generated(
    genuine: Material,
    generated: Material,
    family: str,
    rng: np.random.Generator,
    settings: RenderSettings = DEFAULT_SETTINGS,
) -> RealAndFake:
    """Render a genuine clip, and a fake one with what a network drew, alike.

    Args:
        genuine: the partner.
        generated: a clip of which a network drew everything.
        family: a key of `GENERATED`.
        rng: gives all draws.
        settings: of the shared part.

    Returns:
        The real one and the fake one.

    Raises:
        KeyError: there is no such family.
    """
    return GENERATED[family](genuine, generated, rng, settings)


def _swap(genuine: Material, generated: Material, rng: np.random.Generator, settings: RenderSettings) -> RealAndFake:
    """The generated face, in the genuine clip."""
    return _forged(replace(genuine, donor=generated), generated_swap, rng, settings)


def _beside(genuine: Material, generated: Material, rng: np.random.Generator, settings: RenderSettings) -> RealAndFake:
    """The generated clip as it is.

    Where the two show two people, they differ in more than the forgery: both must be of one look (of one collection,
    size and coding), or a detector learns the looks.
    """
    seed = int(rng.integers(2**63))
    return (
        _rendered_whole(genuine, "null_blend", 0.0, seed, settings),
        _rendered_whole(generated, "generated_person", 1.0, seed, settings),
    )


GENERATED: Mapping[str, Callable[[Material, Material, np.random.Generator, RenderSettings], RealAndFake]] = (
    MappingProxyType({"generated_person": _beside, "generated_swap": _swap})
)
"""What is made of clips that were given as fakes, by the family's name."""


def _rendered_whole(
    material: Material, family: str, forged: float, seed: int, settings: RenderSettings
) -> RenderedClip:
    """A material as it is, with all of it `forged` (0 or 1); the same seed gives the same shared part."""
    shared = draw_shared(np.random.default_rng(seed), *material.size, settings)
    footage = filmed(material, shared)
    mask = np.full(footage.frames.shape[:3], forged, np.float32)
    return render(Forgery.of_video(family, footage, footage.frames, mask), material.landmarks, shared, settings)
