"""From bags to releases: supervised fine-tuning, then practice."""
