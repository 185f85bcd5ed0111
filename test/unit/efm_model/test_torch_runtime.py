from efm_model.export import export_policy, export_reward
from efm_model.network import new_model
from efm_model.torch_runtime import FeatureCache, make_runtimes, share_frozen_encoder
from efm_policy.policy import Policy
from efm_reward.model import RewardModel
from models import FakeTextEncoder, frames, observations, SENTENCE, table_arm
import numpy as np
import pytest
import torch


def as_tensors(inputs):
    return {name: torch.from_numpy(value) for name, value in inputs.items()}


def test_torch_models_give_the_outputs_of_exported_ones(tmp_path):
    model = new_model(table_arm(), seed=3)
    robot = table_arm()
    encoder = FakeTextEncoder()
    exported = (
        Policy.load(export_policy(model, tmp_path / 'p.onnx', robot, 1), encoder, robot),
        RewardModel.load(export_reward(model, tmp_path / 'r.onnx', robot, 1), encoder, robot),
    )
    act, predict = make_runtimes(model, model)
    in_torch = (
        Policy(act, encoder, embodiment=robot),
        RewardModel(predict, encoder, embodiment=robot),
    )
    found = []
    for policy, reward_model in (exported, in_torch):
        policy_episodes = [policy.start(SENTENCE, seed) for seed in range(3)]
        reward_episodes = [reward_model.start(SENTENCE) for _ in range(3)]
        for step in range(2):
            seen = list(observations(3, seed=step))
            d = [one.steps_to_go for one in reward_model.predict_batch(reward_episodes, seen)]
            tokens = [one.tokens for one in policy.act_batch(policy_episodes[:2], seen[:2])]
            found.append((np.array(d), np.array(tokens)))
    for (d, tokens), (torch_d, torch_tokens) in zip(found[:2], found[2:], strict=True):
        np.testing.assert_allclose(d, torch_d, atol=1e-3)
        np.testing.assert_array_equal(tokens, torch_tokens)


def test_the_image_encoder_runs_once_on_a_frame_that_is_also_the_previous_one(monkeypatch):
    model = new_model(table_arm(), 0, 'none')
    shots = frames(4)
    said = {
        'text': np.ones((1, 3, 384), np.float32),
        'text_mask': np.ones((1, 3), np.float32),
    }
    cache = FeatureCache(model)
    counts = []
    encode = model.encode_frames
    pairs = [shots[None, [before, now]] for before, now in ((0, 0), (0, 1), (0, 1), (1, 2))]
    with torch.no_grad():
        expected = [model.features(as_tensors({'observations': p, **said})) for p in pairs]
    monkeypatch.setattr(model, 'encode_frames', lambda new: counts.append(len(new)) or encode(new))
    for pair, features in zip(pairs, expected, strict=True):
        torch.testing.assert_close(cache.features(pair, *said.values()), features)
    assert counts == [1, 1, 1]


def test_models_with_the_same_frozen_encoder_share_it():
    one, other = (new_model(table_arm(), seed) for seed in (0, 1))
    assert share_frozen_encoder(one, other)
    with torch.no_grad():
        next(other.grounding.parameters()).add_(1)
    assert not share_frozen_encoder(one, other)


@pytest.mark.parametrize('pretrained', ['vision', 'none'])
def test_a_trainable_encoder_is_never_shared(pretrained):
    model = new_model(table_arm(), 0, pretrained)
    assert not share_frozen_encoder(model, model)


def test_models_with_different_encoders_use_their_own():
    policy, reward_model = (new_model(table_arm(), seed, 'none') for seed in (0, 1))
    act, predict = make_runtimes(policy, reward_model, version=4)
    assert (act.version, predict.version) == (4, 1)
    inputs = {
        'observations': frames(2)[None],
        'text': np.ones((1, 3, 384), np.float32),
        'text_mask': np.ones((1, 3), np.float32),
    }
    noise = np.zeros((1, *act.input_shape('gumbel')[1:]), np.float32)
    predict.run(**inputs)
    tokens = act.run(**inputs, gumbel=noise)['tokens']
    with torch.no_grad():
        features = policy.features(as_tensors(inputs))
        expected = policy.sample(features, torch.from_numpy(noise))[0]
    np.testing.assert_array_equal(tokens, expected)
