"""Figures as PNG, made of arrays: nothing here knows a network or a run."""
