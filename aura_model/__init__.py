"""Aura: a deepfake detector for video. Importing this package loads nothing heavy."""
