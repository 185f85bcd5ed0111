"""Vision-language backbones: actions and steps-to-go as tokens of a model's own vocabulary."""
