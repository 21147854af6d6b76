"""From the model's log-odds to calibrated ones."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from aura_model.config import Finite


class Calibration(BaseModel):
    """Platt scaling (1999), fitted on held-out videos and stored with the weights.

    The scale is positive, so a calibrated mean, median or maximum of log-odds equals that of calibrated ones: it is
    applied to each clip and holds for the video, whatever the aggregation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    scale: Annotated[Finite, Field(gt=0)]
    bias: Finite

    def apply(self, log_odds: float) -> float:
        """Calibrated log-odds."""
        return self.scale * log_odds + self.bias
