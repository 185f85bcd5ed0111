"""The reward model: steps-to-go of an observation, its decrease as reward, and success."""
