"""The families of pseudo-fakes by name."""

from collections.abc import Mapping
from types import MappingProxyType

from aura_model.augment.blending import self_blend
from aura_model.augment.copysynthesis import copy_synthesis
from aura_model.augment.desync import desync
from aura_model.augment.donor import donor_blend, donor_poisson
from aura_model.augment.drift import feature_drift, frame_stumble
from aura_model.augment.forgery import Forge, null_blend
from aura_model.augment.generator import generated_face, generated_picture
from aura_model.augment.regions import eyes_swap, mouth_swap, reenactment

FAMILIES: Mapping[str, Forge] = MappingProxyType(
    {
        "self_blend": self_blend,
        "mouth_swap": mouth_swap,
        "eyes_swap": eyes_swap,
        "reenactment": reenactment,
        "feature_drift": feature_drift,
        "frame_stumble": frame_stumble,
        "generated_face": generated_face,
        "generated_picture": generated_picture,
        "donor_blend": donor_blend,
        "donor_poisson": donor_poisson,
        "copy_synthesis": copy_synthesis,
        "desync": desync,
        "null_blend": null_blend,
    }
)
HELD_OUT = frozenset({"donor_blend", "donor_poisson"})
"""Never trained on: how well a detector does on them tells how it may do on what nobody here made."""
PROBES = frozenset({"null_blend"})
"""Labelled real: what gives them away is a shortcut."""
