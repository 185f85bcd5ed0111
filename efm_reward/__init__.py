"""From camera to reward: steps-to-go, its decrease as reward, and success."""
