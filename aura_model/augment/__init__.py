"""Augmentation of training clips: pure functions of a clip and a seeded generator."""
