from dataclasses import replace
import json

from efm_core.episode import Outcome
from efm_model.checkpoint import load_checkpoint
from efm_model.network import new_model
from efm_trainer import imitation
from efm_trainer.config import SftConfig
from efm_trainer.sft import fine_tune, objective_counts, split_demonstrations
import pytest
from safetensors.torch import save_file
import torch
from trainer_fakes import demonstrations, FakeTextEncoder, small_embodiment

EMBODIMENT = small_embodiment()
CONFIG = SftConfig(
    iterations=15, batch_size=12, validate_every=5, pretrained='none', learning_rate=3e-3
)


def run(directory, config=CONFIG, **options):
    episodes = demonstrations(EMBODIMENT, 4)
    return fine_tune(episodes, EMBODIMENT, FakeTextEncoder(), config, directory, **options)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Return the result of one training, its directory, and the calls of its progress."""
    directory = tmp_path_factory.mktemp('run') / 'sft'
    seen = []
    result = run(directory, progress=lambda *call: seen.append(call))
    return result, directory, seen


def test_losses_decrease_and_both_checkpoints_load(trained):
    result, directory, seen = trained
    assert result.curve[-1]['training/action'] < result.curve[0]['training/action']
    assert result.curve[-1]['training/steps_to_go'] < result.curve[0]['training/steps_to_go']
    assert [(i, total) for i, total, _ in seen] == [(5, 15), (10, 15), (15, 15)]
    for kind in ('policy', 'reward'):
        _, card = load_checkpoint(directory / kind, EMBODIMENT)
        assert (card['kind'], card['version']) == (kind, 1)
    assert json.loads((directory / 'curve.json').read_text()) == result.curve


def test_the_policy_is_of_the_last_iteration_and_the_reward_model_of_the_best_detector(trained):
    result, _, _ = trained
    best = max(row['validation/detector_f1'] for row in result.curve)
    chosen = [row for row in result.curve if row['iteration'] == result.reward_iteration]
    assert result.policy_iteration == 15
    assert chosen[0]['validation/detector_f1'] == best


def test_both_may_be_of_the_iteration_with_the_best_loss(tmp_path):
    config = replace(CONFIG, policy_checkpoint='loss', reward_checkpoint='loss', learning_rate=0.3)
    result = run(tmp_path, config)
    for name, iteration in (
        ('action', result.policy_iteration),
        ('steps_to_go', result.reward_iteration),
    ):
        best = min(result.curve, key=lambda row: row[f'validation/{name}'])
        assert iteration == best['iteration']


def test_the_same_seed_gives_the_same_weights(trained, tmp_path):
    results = trained[0], run(tmp_path)
    first, second = (load_checkpoint(result.policy, EMBODIMENT)[0] for result in results)
    for left, right in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(left, right)


def test_failed_demonstrations_are_not_used_and_held_out_ones_succeeded():
    episodes = demonstrations(EMBODIMENT, 8)
    outcomes = [Outcome.FAILURE, Outcome.UNLABELLED] + 6 * [Outcome.SUCCESS]
    episodes = [replace(e, outcome=o) for e, o in zip(episodes, outcomes, strict=True)]
    learning, held_out = split_demonstrations(episodes, CONFIG)
    assert {e.index for e in learning} | {e.index for e in held_out} == set(range(1, 8))
    assert len(held_out) == 1
    assert held_out[0].outcome is Outcome.SUCCESS


def test_too_few_successes_are_refused():
    with pytest.raises(ValueError, match='at least 2 that succeeded, got 1'):
        split_demonstrations(demonstrations(EMBODIMENT, 1), CONFIG)


@pytest.mark.parametrize(
    ('batch', 'share', 'expected'),
    [
        (512, 0.1, (231, 230, 51)),
        (128, 1 / 3, (43, 42, 43)),
        (3, 0.9, (1, 1, 1)),
        (9, 0.0, (4, 4, 1)),
    ],
)
def test_each_objective_has_its_fraction_of_a_batch(batch, share, expected):
    counts = objective_counts(SftConfig(batch_size=batch, instruction_fraction=share))
    assert tuple(counts.values()) == expected


def test_training_starts_from_the_given_encoder_weights_with_the_given_hidden_size(tmp_path):
    grounding = new_model(EMBODIMENT, 7, pretrained='none').grounding
    save_file(grounding.state_dict(), tmp_path / 'encoder.safetensors')
    config = replace(
        CONFIG,
        pretrained='joint',
        encoder_weights=str(tmp_path / 'encoder.safetensors'),
        hidden_size=16,
    )
    result = run(tmp_path / 'sft', config)
    for path in (result.policy, result.reward):
        model, _ = load_checkpoint(path, EMBODIMENT)
        assert torch.equal(model.grounding.image.keys.weight, grounding.image.keys.weight)
        assert model.config.hidden_size == 16


def test_encoder_weights_that_would_not_be_used_are_refused():
    with pytest.raises(ValueError, match='encoder_weights: expected none with --pretrained none'):
        replace(CONFIG, encoder_weights='encoder.safetensors')


def with_actions_out_of_range(count):
    """Return four demonstrations of 3, 4, 5 and 6 steps; ``count`` actions exceed their range."""
    episodes = demonstrations(EMBODIMENT, 4)
    actions = episodes[3].actions.copy()
    actions[:count, 0] = 0.026
    return [*episodes[:3], replace(episodes[3], actions=actions)]


def test_too_many_demonstrated_actions_out_of_range_are_refused_with_their_share(tmp_path):
    episodes = with_actions_out_of_range(count=2)
    reason = r'2 actions \(11\.1%\) exceed action.low or action.high .* in episode episode-3'
    with pytest.raises(ValueError, match=reason):
        fine_tune(episodes, EMBODIMENT, FakeTextEncoder(), CONFIG, tmp_path / 'sft')


def test_a_few_demonstrated_actions_out_of_range_are_clipped_and_the_log_says_how_many(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(imitation, 'MAX_CLIPPED', 0.06)
    episodes = with_actions_out_of_range(count=1)
    fine_tune(episodes, EMBODIMENT, FakeTextEncoder(), CONFIG, tmp_path / 'sft')
    assert '1 actions (5.6%) exceed action.low or action.high' in capsys.readouterr().err
