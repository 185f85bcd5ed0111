"""Words and sentences that are held out of training, and the replacement of unknown words."""
