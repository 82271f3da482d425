"""Batches as a pure function of (seed, step)."""
