"""Reward models with a failure bin or with goal dwell, and a time-out penalty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, KW_ONLY, replace
import functools
from typing import Any

from efm_core.config import config, parameter
from efm_core.episode import Episode
from efm_core.episode_rules import first_detection
from efm_evaluation.metrics import detect_per_episode
from efm_experiments.config import ExperimentConfig, text_encoder, TINY
from efm_experiments.experiment import Experiment
from efm_experiments.learners.baselines import timeout_penalty_rewards
from efm_experiments.learners.failure_aware import (
    FailureAwareReward,
    label_demonstrations,
    label_mismatched_goals,
    label_practice,
    LabelledFeatures,
    train_head,
)
from efm_experiments.learners.goal_dwell import (
    HOLD_STEPS,
    label_goal_dwell,
    NUM_MEMBERS,
    train_goal_dwell_ensemble,
)
from efm_experiments.learners.threshold import (
    add_goal_dwell,
    choose_detector,
    DetectorChoice,
    DWELLS,
    HeldOutDemonstrations,
    THRESHOLDS,
)
from efm_experiments.studies.detector_tradeoff import (
    BASELINE,
    COMPARED,
    FAILURE_AWARE,
    GOAL_DWELL,
    GOAL_DWELL_LARGE,
    plot,
    RETRAINED,
    summarise,
    TIMEOUT_PENALTY,
)
from efm_experiments.table.demonstrations import demonstrations
from efm_experiments.table.evaluation import (
    evaluate_before_practice,
    evaluate_policy,
    reached_at,
    success_values,
    true_success,
)
from efm_experiments.table.practice import AfterUpdate, finite_mean, keep_config, practise
from efm_experiments.table.report import COMMON
from efm_experiments.table.sft_cache import make_model_pair, ModelPair
from efm_model.network import GroundingModel
from efm_reward.reward import returns, rewards
from efm_trainer.dataset import compute_all_features, to_batch
from efm_trainer.prediction import expected_steps_to_go
import numpy as np
import torch

HELD_OUT = 100  # demonstrations on which s and dwell are chosen
SEED_OFFSET = 700  # between the seed of a run and the seed of its held-out demonstrations
ABOUT = f"""
This experiment tries to improve the success detector without new labels. The cells:

- `{BASELINE}`: the reward model of stage 1, with s = 2 and dwell 2.
- `{FAILURE_AWARE}`: the same with a failure bin, which counts as the largest number of steps. It
  is trained on the same demonstrations in forward and reverse motion and without motion, so that
  motion is no cue. The ends of demonstrations under another instruction are the negatives.
- `{RETRAINED}`: the same, retrained on its own practice episodes every {{retrain_every}}
  episodes. A time-out is labelled as failure, except observations with d <= s. A detected
  success is labelled with its steps-to-go, except its last steps.
- `{GOAL_DWELL}`: a demonstration that ends at its goal shows the goal once, from its edge. Here
  each demonstration continues for {HOLD_STEPS} steps, all with zero steps-to-go. The reward
  model is the mean of {NUM_MEMBERS} newly initialised heads without a failure bin.
- `{GOAL_DWELL_LARGE}`: the same with {{more}} demonstrations; compared only, without practice.
- `{TIMEOUT_PENALTY}`: the baseline with another reward. Failed episodes approach the goal too,
  so that the sum of their rewards is positive. Here the last action of a time-out loses
  d(first), so that the sum is -d(last).

Threshold s and dwell are chosen without the simulator, on {HELD_OUT} held-out demonstrations.
They maximise the detected ends at no more than {{max_false}} % false alarms before the end or
under another instruction. The comparison of detectors uses one set of episodes for all models:
those of the policy of stage 1, and those of the policy that has practised with the baseline. In
the first table, self-stopped success `before` practice is that of the baseline. `After` practice
it is that of the cell's own reward model with its chosen s and dwell.

Tried on one unreported seed:

- The probability of zero steps-to-go instead of d: slightly better with little data.
- The baseline with the best loss: worse. The baseline with fewer training steps: better.
- Noise on the features of `{GOAL_DWELL}`: better with 400 demonstrations, worse with 1,600.

**Result.** Goal dwell with more demonstrations gives the best detector. It misses the aim, a
recall of 90 % at 2 % false success. By self-stopped success no cell is shown to be better than
the baseline; the retrained one is worse. The failure bin and the retraining lose more successes
than failures, and practice with them gets worse: the encoder is frozen, and a bin cannot correct a
wrong block. Retraining raises d wherever the robot gets stuck, until nothing is detected and
every episode is labelled as failure. In two of five seeds the choice of s is too small: the ends
of demonstrations under another instruction count as false alarms, although some of these goals
hold by accident. Most failed episodes end with a false detection, so that a time-out penalty
cannot make failure a loss.
{COMMON}"""


@config
class FailureAwareConfig:
    """
    One reward model, and how it is trained.

    :param base: configuration of both stages.
    :raises ValueError: when a value is out of range.
    """

    base: ExperimentConfig = field(default_factory=ExperimentConfig)
    kind: str = parameter(
        BASELINE, 'Reward model', choices=(*COMPARED, RETRAINED, TIMEOUT_PENALTY)
    )
    iterations: int = parameter(2000, 'Optimiser steps of the failure bin', '', 1, 10**6)
    goal_dwell_iterations: int = parameter(
        6000, 'Optimiser steps of each head of the goal dwell ensemble', '', 1, 10**6
    )
    more: int = parameter(1600, 'Demonstrations of the larger set', '', 2, 10**6)
    retrain_every: int = parameter(80, 'Practice episodes between retrainings', '', 1, 10**6)
    retrain_iterations: int = parameter(500, 'Optimiser steps of a retraining', '', 1, 10**6)
    max_false_rate: float = parameter(
        0.02, 'Rate of false alarms permitted in the choice of s', '', 0.0, 1.0
    )
    held_out: int = parameter(
        HELD_OUT, 'Held-out demonstrations on which s is chosen', '', 2, 10**4
    )


@dataclass(frozen=True)
class LabelledData:
    """
    Data for training and for the choice of s, without the simulator's state.

    :param demonstrated: labelled demonstrations.
    :param mismatched: ends of demonstrations under another instruction.
    :param held_out: held-out demonstrations with an appended dwell at their goals.
    :param held_out_mismatched: ends of held-out demonstrations under another instruction.
    :param held_out_dwelling: held-out demonstrations that continue after their goals.
    """

    demonstrated: LabelledFeatures
    mismatched: LabelledFeatures
    _: KW_ONLY
    held_out: HeldOutDemonstrations
    held_out_mismatched: LabelledFeatures
    held_out_dwelling: HeldOutDemonstrations


def cells(config: FailureAwareConfig) -> dict[str, FailureAwareConfig]:
    """Return one cell for each reward model that practises."""
    kinds = (BASELINE, FAILURE_AWARE, RETRAINED, GOAL_DWELL)
    found = {kind: replace(config, kind=kind) for kind in kinds}
    penalty = replace(config.base, learner='timeout_penalty')
    return found | {TIMEOUT_PENALTY: replace(config, kind=TIMEOUT_PENALTY, base=penalty)}


def run_cell(cell: FailureAwareConfig, seed: int) -> dict[str, Any]:
    """Return the values of practice with one reward model; the baseline compares all models."""
    config = cell.base
    baseline = make_model_pair(config, seed)
    data = gather(config, cell.held_out, seed)
    if cell.kind == BASELINE:
        return compare_all(cell, baseline, data, seed)
    if cell.kind == TIMEOUT_PENALTY:
        return practise_with_penalty(config, baseline, seed)
    models = replace(baseline, reward=make_reward(cell, baseline, data, cell.kind, seed))
    config = with_detector(config, choose(cell, models, data, cell.kind))
    hook = retrainer(cell, models, data, seed) if cell.kind == RETRAINED else keep_config
    values: dict[str, Any] = {**evaluate_before_practice(cell.base, baseline, seed, {})}
    models, practised = practise(config, models, seed, hook)
    after = evaluate_policy(config, models, seed)
    values |= success_values(after, config, 'after') | practised
    choice = choose(cell, models, data, cell.kind)
    features = features_of(models, after)
    return values | compare(config, models, after, features, f'{cell.kind}_own', choice)


def compare_all(
    cell: FailureAwareConfig, baseline: ModelPair, data: LabelledData, seed: int
) -> dict[str, Any]:
    """Return the values of practice with the baseline, and all models on its episodes."""
    config = cell.base
    values: dict[str, Any] = {}
    before = evaluate_policy(config, baseline, seed)
    models, practised = practise(config, baseline, seed)
    after = evaluate_policy(config, models, seed)
    sets = [
        (phase, episodes, features_of(baseline, episodes))
        for phase, episodes in (('before', before), ('after', after))
    ]
    for kind in COMPARED:
        compared = replace(baseline, reward=make_reward(cell, baseline, data, kind, seed))
        choice = choose(cell, compared, data, kind)
        values |= {f'{name}_{kind}': value for name, value in asdict(choice).items()}
        for phase, episodes, features in sets:
            values |= compare(config, compared, episodes, features, f'{kind}_{phase}', choice)
    for phase, episodes, _ in sets:
        values |= success_values(episodes, config, phase)
    return values | practised


def practise_with_penalty(
    config: ExperimentConfig, baseline: ModelPair, seed: int
) -> dict[str, Any]:
    """Return the values of practice with a time-out penalty, and the rewards of failures."""
    values: dict[str, Any] = {**evaluate_before_practice(config, baseline, seed, {})}
    before = evaluate_policy(config, baseline, seed)
    models, practised = practise(config, baseline, seed)
    after = evaluate_policy(config, models, seed)
    for phase, episodes in (('before', before), ('after', after)):
        values |= {f'earned_{phase}': failure_rewards(episodes, config)}
    return values | success_values(after, config, 'after') | practised


def failure_rewards(
    episodes: Sequence[Episode], config: ExperimentConfig
) -> list[float] | list[None]:
    """
    Return the mean sum of rewards of failed episodes [steps], without and with the penalty.

    As in practice, an episode ends where its detector fires, or at the time limit.
    """
    sums = []
    for episode in episodes:
        d = episode.steps_to_go[: config.max_steps + 1]
        fired = first_detection(d, config.embodiment.episode)
        at = len(d) - 1 if fired is None else fired
        if not true_success(episode)[at]:
            d = d[: at + 1]
            sums.append([rewards(d).sum(), timeout_penalty_rewards(d, fired is not None).sum()])
    return np.mean(sums, axis=0).tolist() if sums else [None, None]


def features_of(models: ModelPair, episodes: Sequence[Episode]) -> torch.Tensor:
    """Return the features of every observation from the reward model's encoder, ``(N, F)``."""
    return compute_all_features(models.reward, to_batch(list(episodes), text_encoder()))


@functools.lru_cache(maxsize=2)
def gather(config: ExperimentConfig, held_out: int, seed: int) -> LabelledData:
    """Return labelled demonstrations, and ``held_out`` further ones to choose s on."""
    robot = config.embodiment
    model = make_model_pair(config, seed).reward
    found = []
    for count, scenes in ((config.demonstrations, seed), (held_out, seed + SEED_OFFSET)):
        made = demonstrations(count, scenes, config.body, robot)
        samples = to_batch(made, text_encoder())
        wrong = label_mismatched_goals(model, samples, robot.steps_to_go, seed)
        found.append((samples, compute_all_features(model, samples), wrong))
    (samples, features, wrong), (fresh, fresh_features, fresh_wrong) = found
    made = demonstrations(held_out, seed + SEED_OFFSET, config.body, robot, hold=HOLD_STEPS)
    dwelling = compute_all_features(model, to_batch(made, text_encoder()))
    lengths = tuple(len(episode) + 1 for episode in made)
    return LabelledData(
        label_demonstrations(features, samples, robot.steps_to_go),
        wrong,
        held_out=add_goal_dwell(fresh_features, fresh),
        held_out_mismatched=fresh_wrong,
        held_out_dwelling=HeldOutDemonstrations(dwelling, lengths, dwell=HOLD_STEPS),
    )


def make_reward(
    cell: FailureAwareConfig, models: ModelPair, data: LabelledData, kind: str, seed: int
) -> GroundingModel:
    """Return the reward model of a kind, trained on demonstrations only."""
    if kind == BASELINE:
        return models.reward
    if kind in (GOAL_DWELL, GOAL_DWELL_LARGE):
        return make_goal_dwell(cell, models, cell.more if kind == GOAL_DWELL_LARGE else 0, seed)
    model = FailureAwareReward(models.reward)
    parts = [(data.demonstrated, 0.75), (data.mismatched, 0.25)]
    train_head(model, parts, cell.iterations, seed)
    return model.as_model()


def make_goal_dwell(
    cell: FailureAwareConfig, models: ModelPair, count: int, seed: int
) -> GroundingModel:
    """Return the goal dwell ensemble of ``count`` demonstrations, or of the usual number."""
    config = cell.base
    count = count or config.demonstrations
    robot = config.embodiment
    made = demonstrations(count, seed, config.body, robot, hold=HOLD_STEPS)
    features = compute_all_features(models.reward, to_batch(made, text_encoder()))
    labelled = label_goal_dwell(features, made, robot.steps_to_go)
    iterations = cell.goal_dwell_iterations
    return train_goal_dwell_ensemble(models.reward, labelled, iterations, seed).as_model()


def choose(
    cell: FailureAwareConfig, models: ModelPair, data: LabelledData, kind: str
) -> DetectorChoice:
    """Return s and dwell for a reward model, with their rates on held-out demonstrations."""
    has_dwell = kind in (GOAL_DWELL, GOAL_DWELL_LARGE)
    return choose_detector(
        models.reward,
        data.held_out_dwelling if has_dwell else data.held_out,
        data.held_out_mismatched,
        cell.base.embodiment.steps_to_go,
        cell.max_false_rate,
    )


def with_detector(config: ExperimentConfig, choice: DetectorChoice) -> ExperimentConfig:
    """Return the configuration with the chosen s and dwell."""
    return replace(config, success_threshold=choice.threshold, success_dwell=choice.dwell)


def retrainer(
    cell: FailureAwareConfig, models: ModelPair, data: LabelledData, seed: int
) -> AfterUpdate:
    """Return a hook for ``practise`` that retrains the reward model and chooses s anew."""
    reward = models.reward
    if not isinstance(reward, FailureAwareReward):
        raise TypeError(f'reward: expected a FailureAwareReward, got {type(reward).__name__}')
    seen: list[Episode] = []

    def retrain(config: ExperimentConfig, episodes: list[Episode], done: int) -> ExperimentConfig:
        seen.extend(episodes)
        if len(seen) < cell.retrain_every or done >= config.practice:
            return config
        scale = config.embodiment.steps_to_go
        own = label_practice(reward.as_model(), seen, scale, config.success_threshold)
        parts = [(data.demonstrated, 0.5), (data.mismatched, 0.2), (own, 0.3)]
        train_head(reward, parts, cell.retrain_iterations, seed + done)
        seen.clear()
        return with_detector(config, choose(cell, models, data, cell.kind))

    return retrain


def compare(
    config: ExperimentConfig,
    models: ModelPair,
    episodes: Sequence[Episode],
    features: torch.Tensor,
    word: str,
    choice: DetectorChoice,
) -> dict[str, Any]:
    """
    Return recall and false success for every s and dwell and for the chosen ones.

    Also the rewards of failed episodes.

    :param features: of all observations of ``episodes``, ``(N, F)``.
    :param word: suffix of the value names.
    """
    d = expected_steps_to_go(models.reward, features, config.embodiment.steps_to_go).numpy()
    ends = np.cumsum([len(episode) + 1 for episode in episodes])[:-1]
    predicted = [
        replace(episode, steps_to_go=part)
        for episode, part in zip(episodes, np.split(d, ends), strict=True)
    ]
    found: dict[str, Any] = {f'fails_{word}': failed_returns(predicted, config)}
    for dwell in DWELLS:
        pairs = [detector_rates(config, predicted, s, dwell) for s in THRESHOLDS]
        found[f'false_{word}_{dwell}'] = [false for false, _ in pairs]
        found[f'recall_{word}_{dwell}'] = [recall for _, recall in pairs]
    chosen = detector_rates(config, predicted, choice.threshold, choice.dwell)
    return found | {f'chosen_{word}': list(chosen)}


def detector_rates(
    config: ExperimentConfig, episodes: Sequence[Episode], threshold: float, dwell: int
) -> tuple[float, float | None]:
    """Return the rate of false success among all episodes, and the recall."""
    rules = replace(config.embodiment.episode, success_threshold=threshold, success_dwell=dwell)
    found = detect_per_episode(episodes, rules)
    return found.false_positives / len(episodes), found.to_plain()['recall']


def failed_returns(
    episodes: Sequence[Episode], config: ExperimentConfig
) -> list[float] | list[None]:
    """Return d(first) - d(last) and the mean discounted return of failed episodes [steps]."""
    limit = config.max_steps
    failed = [e.steps_to_go[: limit + 1] for e in episodes if not 0 <= reached_at(e) <= limit]
    if not failed:
        return [None, None]
    whole = [float(d[0] - d[-1]) for d in failed]
    discounted = [float(returns(rewards(d), config.gamma).mean()) for d in failed]
    return [finite_mean(whole), finite_mean(discounted)]


QUICK = FailureAwareConfig(
    base=replace(TINY, curve=()),
    iterations=3,
    goal_dwell_iterations=2,
    more=5,
    retrain_every=2,
    retrain_iterations=2,
    held_out=2,
)
EXPERIMENT = Experiment(
    name='failure_aware',
    title='Failure-aware reward models',
    about=ABOUT.replace('{retrain_every}', '80')
    .replace('{max_false}', '2')
    .replace('{more}', '1,600'),
    config=FailureAwareConfig(),
    smoke=QUICK,
    cells=cells,
    run_cell=run_cell,
    summarise=summarise,
    plot=plot,
)
