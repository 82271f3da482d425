"""Averages of weights: of snapshots (SWA), and exponential (EMA)."""
