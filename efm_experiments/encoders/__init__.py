"""Encoders that know less than the shipped one, and how they learn from demonstrations alone."""
