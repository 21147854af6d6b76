"""Clips that were extracted once, in Parquet."""
