"""Genuine clips beside their forgeries: how they are cut, made and scored."""
