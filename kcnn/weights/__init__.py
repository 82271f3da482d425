"""Weights from one network, or its file, into another."""
