"""The model's optimisation, without Ray."""
