"""Gymnasium environments as worlds, and the demonstrator of gym-pusht."""
