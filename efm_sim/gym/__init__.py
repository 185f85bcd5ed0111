"""Gymnasium environments as worlds."""
