"""Rosbags of episodes: writing, reading, and taking them in."""
