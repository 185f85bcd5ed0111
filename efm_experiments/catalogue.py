"""All experiments by name; an experiment's module is imported when it is loaded."""

from __future__ import annotations

import importlib

from efm_experiments.experiment import Experiment

# In the order of the results page.
CATALOGUE = {
    'pointmass': "the authors' pointmass notebook: practice shortens the paths of a point",
    'cloning': 'behaviour cloning alone, trained to convergence: the baseline',
    'sample_efficiency': 'practice against more demonstrations, at three sizes of data',
    'ablation': 'pretraining of the policy encoder and of the reward model encoder',
    'convergence': 'longer training of the encoders that are not frozen',
    'controls': 'other rewards and other learners at the same number of episodes',
    'reuse': 'several updates from each sample: how many episodes that saves',
    'detector': 'precision, recall and calibration of the success detector',
    'failure_aware': 'reward models with a failure bin or with goal dwell, and a time-out penalty',
    'over_optimisation': 'practice far beyond the plateau, and what keeps success steady',
    'language': 'held-out sentences, block pairs and words',
    'transfer': 'practice after a change of camera, colours, friction or latency',
    'new_skill': 'practice with a long bar that no demonstration contains',
    'manipulation': 'Meta-World from pixels: two cameras, a gripper, no labels',
    'mt10': 'ten tasks of Meta-World with one policy, conditioned on the instruction',
    'labels': 'reward models for manipulation: shared, separate, with labelled attempts',
    'sweeps': 'gamma, c, s, batch size, bins and temperature, one at a time',
}


def load(name: str) -> Experiment:
    """
    Return an experiment by its name.

    :raises ValueError: when the name is not in ``CATALOGUE``.
    """
    if name not in CATALOGUE:
        raise ValueError(f'experiment: expected one of {", ".join(CATALOGUE)}, got {name!r}')
    return importlib.import_module(f'efm_experiments.studies.{name}').EXPERIMENT
