"""Words and sentences that were held out of training."""
