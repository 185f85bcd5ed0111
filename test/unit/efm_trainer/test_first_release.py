from efm_release.release import load_release
from efm_trainer.trainer import Trainer
from trainer_fakes import FakeTextEncoder, make_run, small_embodiment

EMBODIMENT = small_embodiment()


def test_the_first_release_is_the_policy_of_stage_1_with_passed_parity_tests(tmp_path):
    run = make_run(tmp_path, EMBODIMENT)
    trainer = Trainer(run, EMBODIMENT, text_encoder=FakeTextEncoder())
    assert (trainer.version, trainer.release.version) == (1, 1)
    files = load_release(trainer.release.uri, trainer.release.sha256, EMBODIMENT.hash)
    assert files.manifest['parity'][0]['passed']
    assert trainer.step() is None
    trainer.close()
