"""Encoders with less pretraining than the shipped one, trained together with the heads."""
