"""Releases: folders of exported models that robots verify and load."""
