"""Every experiment there is, loaded when it is asked for."""

from __future__ import annotations

import importlib

from efm_experiments.experiment import Experiment

# In the order of the results page.
CATALOGUE = {
    'pointmass': "the authors' notebook: a point that learns to take the short way",
    'cloning': 'behaviour cloning alone, trained until it gets no better: the baseline',
    'sample_efficiency': 'demonstrations against practice, at three sizes of data',
    'ablation': 'what the pretrained encoder is worth, for the policy and for the reward model',
    'convergence': 'whether more steps would help the encoders that are not frozen',
    'controls': 'other rewards and other learners at the same number of episodes',
    'reuse': 'samples that teach more than once, and how many episodes that saves',
    'detector': 'how often the robot is right about its own success',
    'failure_aware': 'a reward model that can say "not from here", against the plain one',
    'over_optimisation': 'practice far past the plateau, and what keeps it there',
    'language': 'sentences, pairs and words that were never trained',
    'transfer': 'camera, colours, friction, latency changed: practice in another world',
    'new_skill': 'a long bar that no demonstration shows, to named places',
    'sweeps': 'gamma, c, s, batch, bins, temperature: one at a time',
}


def load(name: str) -> Experiment:
    """
    Return an experiment by its name.

    :raises ValueError: when there is none of that name.
    """
    if name not in CATALOGUE:
        raise ValueError(f'experiment: expected one of {", ".join(CATALOGUE)}, got {name!r}')
    return importlib.import_module(f'efm_experiments.studies.{name}').EXPERIMENT
