"""Metrics, confidence intervals and reports of a run."""
