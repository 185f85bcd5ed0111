"""
Samples per second of both stages, against bare torch loops of the same network.

The bare loops draw the same numbers of samples from tensors in memory, and do nothing but forward
pass, the same losses, backward pass and AdamW: no augmentation, no validation, no clipping. Both
take turns in one run, in one thread; seconds are processor time. The model is the visuomotor model
with two cameras and six joints; episodes are noise. The last line is one JSON object. Run it with
``make bench-train``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
import json
import tempfile
import time

from efm_core.embodiment import Embodiment
from efm_core.episode import Episode, Kind, Outcome, Termination
from efm_core.observation import Observation
from efm_core.tokeniser import ActionTokeniser
from efm_model.text import ensure_text_encoder, TextEncoder
from efm_model.torch_runtime import single_threaded
from efm_model.visuomotor import new_visuomotor, VisuomotorModel
from efm_trainer.config import PracticeConfig, SftConfig, STAGE_ONE
from efm_trainer.dataset import compute_all_features, EpisodeBatch, to_batch
from efm_trainer.losses import action_loss, clipped_loss, instruction_loss, steps_to_go_loss
from efm_trainer.reinforce import Reinforce
from efm_trainer.sft import fine_tune, objective_counts
import numpy as np
import torch
from visuomotor_cost import two_cameras

INSTRUCTION = 'put the red block into the box'
EPISODES = 12
LENGTH = 40  # actions of an episode
PART = 25  # optimiser steps between two times of stage 1


def main() -> None:
    """Measure; print the figures, then the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--size', type=int, default=64, help='side of the frames [px] (64)')
    parser.add_argument('--rounds', type=int, default=3, help='turns of each loop (3)')
    options = parser.parse_args()
    with single_threaded():
        figures = measure(options.size, options.rounds)
    for name, value in figures.items():
        print(f'{name:28} {value:10.2f}')
    print(json.dumps(figures))


def measure(size: int, rounds: int) -> dict[str, float]:
    """Return samples per second of both stages, and the part of the bare loops' speed."""
    robot = two_cameras(size)
    encoder = TextEncoder(ensure_text_encoder())
    episodes = [make_episode(robot, index) for index in range(EPISODES)]
    first = take_turns(
        rounds,
        lambda: stage_one(episodes, robot, encoder),
        lambda: bare_stage_one(episodes, robot, encoder),
    )
    second = take_turns(
        rounds,
        lambda: stage_two(episodes, robot, encoder),
        lambda: bare_stage_two(episodes, robot, encoder),
    )
    return {
        'samples_per_s': round(first[0], 1),
        'learner_share': round(first[0] / first[1], 3),
        'practice_samples_per_s': round(second[0], 1),
        'practice_learner_share': round(second[0] / second[1], 3),
    }


def take_turns(
    rounds: int, ours: Callable[[], float], bare: Callable[[], float]
) -> tuple[float, float]:
    """Return the median samples per second of two loops that take turns."""
    pairs = [(ours(), bare()) for _ in range(rounds)]
    speeds = np.median(np.array(pairs), axis=0)
    return float(speeds[0]), float(speeds[1])


def make_episode(robot: Embodiment, index: int) -> Episode:
    """Return an episode of noise."""
    rng = np.random.default_rng(index)
    count = LENGTH + 1
    space = robot.action
    low = np.array(space.low)
    high = np.array(space.high)
    actions = (low + (high - low) * rng.random((LENGTH, len(low)))).astype(np.float32)
    images = tuple(rng.integers(0, 256, (count, *s, 3), np.uint8) for s in robot.image_sizes)
    state = rng.normal(size=(count, len(robot.proprioception_names))).astype(np.float32)
    return Episode(
        episode_id=f'demonstration-{index:06d}',
        index=index,
        kind=Kind.DEMONSTRATION,
        instruction=INSTRUCTION,
        seed=index,
        observations=Observation(images, state),
        stamps=np.arange(1, count + 1, dtype=np.int64) * robot.period_ns,
        tokens=ActionTokeniser(space).encode(actions),
        actions=actions,
        log_probs=np.full(LENGTH, -8.0, np.float32),
        steps_to_go=np.linspace(LENGTH, 0, count, dtype=np.float32),
        outcome=Outcome.SUCCESS,
        termination=Termination.SUCCESS_DETECTED,
        policy_version=1,
        reward_version=1,
        embodiment_hash=robot.hash,
    )


def sft_config() -> SftConfig:
    """Return the defaults of stage 1, for three parts; the first one warms up."""
    default = STAGE_ONE['visuomotor']
    return replace(
        default,
        iterations=3 * PART,
        validate_every=PART,
        reward_network='shared',
        second_reward=False,
    )


def stage_one(episodes: list[Episode], robot: Embodiment, encoder: TextEncoder) -> float:
    """Return the samples per second of stage 1, augmentation and validation included."""
    times = []

    def note(iteration: int, total: int, losses: dict[str, float]) -> None:
        times.append(time.process_time())

    config = sft_config()
    with tempfile.TemporaryDirectory() as folder:
        fine_tune(episodes, robot, encoder, config, folder, note, family='visuomotor')
    return 2 * PART * config.batch_size / (times[-1] - times[0])


def bare_stage_one(episodes: list[Episode], robot: Embodiment, encoder: TextEncoder) -> float:
    """Return the samples per second of the bare loop of stage 1."""
    config = sft_config()
    batch = to_batch(episodes, encoder, ActionTokeniser(robot.action))
    words = tuple(sorted(set(encoder.pieces(INSTRUCTION))))
    model = new_visuomotor(robot, pieces=words, hidden_size=config.hidden_size)
    pieces = torch.tensor([model.encode_pieces(encoder.pieces(INSTRUCTION))])
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), config.learning_rate, fused=True)
    counts = objective_counts(config)
    count = counts['action'] + counts['steps_to_go']
    indices = batch.has_action.nonzero()[:, 0]
    began = 0.0
    for step in range(3 * PART):
        if step == PART:
            began = time.process_time()
        chosen = indices[torch.randint(len(indices), (count,))]
        features = model.features(batch.model_inputs(chosen))
        loss = action_loss(
            model.policy_logits(features, batch.tokens[chosen]), batch.tokens[chosen]
        )
        bins = batch.steps_to_go[chosen].long()
        loss = loss + steps_to_go_loss(model.steps_to_go_logits(features), bins, 1.0)
        told = torch.randint(len(batch.first), (counts['instruction'],))
        scenes = [model.scene_features(batch.frames[at[told]]) for at in (batch.first, batch.last)]
        said = pieces.expand(len(told), -1)
        logits = model.instruction_logits(scenes[0], scenes[1], said[:, :-1])
        loss = loss + instruction_loss(logits, said[:, 1:])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return 2 * PART * config.batch_size / (time.process_time() - began)


def practice_models(robot: Embodiment) -> tuple[VisuomotorModel, VisuomotorModel]:
    """Return a policy and a reward model, whose encoders differ as after stage 1."""
    policy, reward = (new_visuomotor(robot, seed=seed) for seed in (0, 1))
    return policy, reward


def stage_two(episodes: list[Episode], robot: Embodiment, encoder: TextEncoder) -> float:
    """Return the samples per second of one update of stage 2, each sample counted once."""
    policy, reward = practice_models(robot)
    learner = Reinforce(
        policy, reward, text_encoder=encoder, scale=robot.steps_to_go, config=PracticeConfig()
    )
    began = time.process_time()
    learner.update(episodes)
    return EPISODES * LENGTH / (time.process_time() - began)


def bare_stage_two(episodes: list[Episode], robot: Embodiment, encoder: TextEncoder) -> float:
    """Return the same of the bare loop: features of both models once, then the passes."""
    config = PracticeConfig()
    policy, reward = practice_models(robot)
    policy.freeze_vision()
    batch = to_batch(episodes, encoder)
    optimiser = torch.optim.AdamW(
        [p for p in policy.parameters() if p.requires_grad], config.learning_rate, fused=True
    )
    began = time.process_time()
    with torch.no_grad():
        reward.steps_to_go_logits(compute_all_features(reward, batch))
        features = compute_all_features(policy, batch)
    update(policy, optimiser, batch, features, config)
    return EPISODES * LENGTH / (time.process_time() - began)


def update(
    policy: VisuomotorModel,
    optimiser: torch.optim.Optimizer,
    batch: EpisodeBatch,
    features: torch.Tensor,
    config: PracticeConfig,
) -> None:
    """Take all optimiser steps of an update, with an advantage of 1."""
    indices = batch.has_action.nonzero()[:, 0]
    for _ in range(config.update_epochs):
        for chosen in indices[torch.randperm(len(indices))].split(config.batch_size):
            tokens = batch.tokens[chosen]
            ones = torch.ones(len(chosen))
            logits = policy.policy_logits(features[chosen], tokens)
            loss = clipped_loss(
                logits, tokens, ones, -8 * ones, config.clip_range, config.return_scale
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()


if __name__ == '__main__':
    main()
