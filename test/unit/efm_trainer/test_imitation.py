from efm_model.network import new_model
from efm_trainer.config import SftConfig
from efm_trainer.imitation import make_objectives
import pytest
import torch
from trainer_fakes import demonstrations, FakeTextEncoder, small_embodiment

EMBODIMENT = small_embodiment()


def test_the_detector_s_f1_counts_both_kinds_of_error():
    model = new_model(EMBODIMENT, pretrained='none', pieces=('push',))
    imitation = make_objectives(
        model, demonstrations(EMBODIMENT, 1), EMBODIMENT, FakeTextEncoder(), SftConfig()
    )
    torch.nn.init.zeros_(model.steps_to_go.weight)
    model.steps_to_go.bias.data = torch.full((61,), -100.0)
    model.steps_to_go.bias.data[1] = 0.0  # predicts one step: right on the last 3 of 4 frames
    assert imitation.detector_f1() == pytest.approx(2 * 3 / (4 + 3))
    model.steps_to_go.bias.data[9] = 100.0  # predicts nine steps
    assert imitation.detector_f1() == 0


def test_steps_to_go_samples_come_from_successes_and_actions_from_all_but_last_observations():
    model = new_model(EMBODIMENT, pretrained='none', pieces=('push',))
    imitation = make_objectives(
        model, demonstrations(EMBODIMENT, 2), EMBODIMENT, FakeTextEncoder(), SftConfig()
    )
    assert imitation.indices['action'].tolist() == [0, 1, 2, 4, 5, 6, 7]
    assert imitation.indices['steps_to_go'].tolist() == list(range(9))
    assert imitation.indices['instruction'].tolist() == [0, 1]
