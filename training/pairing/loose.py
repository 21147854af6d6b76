"""How clips are cut out of which pairs are made. Apart from `training.pairing.pairs`, which brings torch."""

from aura_model.config import Config


def loose(config: Config) -> Config:
    """The configuration that cuts clips out: for pairs more of the picture around the face, and no sound."""
    fakes, dataset = config.dataset.pseudo_fakes, config.dataset
    if not fakes.enabled:
        return config
    face = dataset.face.model_copy(update={"margin": fakes.margin, "size": fakes.size})
    audio = dataset.audio.model_copy(update={"enabled": False})
    return config.model_copy(update={"dataset": dataset.model_copy(update={"face": face, "audio": audio})})
