"""Bags of episodes: recorder, reader and the trainer's inbox."""
