"""Aura: a deepfake detector for video. Importing this package loads nothing heavy."""

__version__ = "0.1.0"
