"""Releases: verified directories of exported models that robots load."""
