"""A stage for nodes: they run in this process, and the test spins them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import itertools
from pathlib import Path
from typing import Any
import warnings

from efm_core import ros_topics, topics
from efm_core.embodiment import Embodiment
from efm_core.embodiment_files import save_embodiment
from efm_core.ros_lifecycle import make_executor
from efm_core.ros_messages import stamped
from efm_interfaces.msg import EpisodeEvent
from models import SENTENCE, table_arm
import pytest
import rclpy
from rclpy.context import Context
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from releases import publish_untrained
from waiting import Deadline

with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # of the parser that the message classes bring along
    import rosidl_generator_py  # noqa: F401

PERIOD_NS = 100_000_000
FIRST_STAMP = 5 * PERIOD_NS
numbers = itertools.count()


class Stage:
    """
    The nodes of one test, in a namespace of their own, and a peer that talks to them.

    :ivar peer: a plain node for publishers, subscriptions and clients of the test.
    """

    def __init__(self, context: Context):
        self._context = context
        self._executor = make_executor(context)
        self.namespace = f'/test_{next(numbers)}'
        self._nodes: list[Any] = []
        self.peer = self._add(Node('peer', context=context, namespace=self.namespace))

    def make(self, node_class: type, **parameters: Any) -> Any:
        """Return a node that is not configured yet."""
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        return self._add(
            node_class(
                context=self._context, namespace=self.namespace, parameter_overrides=overrides
            )
        )

    def start(self, node_class: type, **parameters: Any) -> Any:
        """Return a node that is configured and active."""
        node = self.make(node_class, **parameters)
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
        return node

    def speak(self, topic: topics.Topic, lockstep: bool = True) -> Any:
        """Return a publisher that is connected to every subscription on the stage."""
        publisher = ros_topics.publisher(self.peer, topic, lockstep)
        self._connect(topic)
        return publisher

    def listen(
        self, topic: topics.Topic, then: Callable[[Any], Any] = bool, lockstep: bool = True
    ) -> list[Any]:
        """Return a list that collects the messages of a topic; ``then`` is called for each."""
        heard: list[Any] = []

        def hear(message: Any) -> None:
            heard.append(message)
            then(message)

        ros_topics.subscription(self.peer, topic, hear, lockstep)
        self._connect(topic)
        return heard

    def hear(self, heard: list[Any], count: int = 1) -> list[Any]:
        """Return ``heard`` once it has ``count`` messages; it must not have more."""
        self.spin_until(lambda: len(heard) >= count, f'{count} messages')
        assert len(heard) == count
        return heard

    def call(self, kind: Any, name: str, **fields: Any) -> Any:
        """Return the answer of a service."""
        client = self.peer.create_client(kind, name)
        self.spin_until(client.service_is_ready, name)
        return self.wait(client.call_async(kind.Request(**fields)))

    def wait(self, future: Any) -> Any:
        """Return the result of a future."""
        self.spin_until(future.done, 'an answer')
        return future.result()

    def spin_until(self, fact: Callable[[], Any], what: str = '', seconds: float = 20.0) -> None:
        """Hand out events until ``fact()`` holds; fail when the time is up."""
        deadline = Deadline(seconds)
        while not fact():
            assert not deadline.has_passed(), f'waited {seconds} s in vain for {what}'
            self._executor.spin_once(timeout_sec=0.02)

    def close(self) -> None:
        """Destroy all nodes, after the executor has ended."""
        self._executor.shutdown()
        for node in reversed(self._nodes):
            node.destroy_node()

    def _add(self, node: Any) -> Any:
        self._executor.add_node(node)
        self._nodes.append(node)
        return node

    def _connect(self, topic: topics.Topic) -> None:
        """Wait until every publisher of a topic is connected to every subscription."""
        name = self.peer.resolve_topic_name(topic.name)
        publishers = [p for node in self._nodes for p in node.publishers if p.topic_name == name]
        ears = [s for node in self._nodes for s in node.subscriptions if s.topic_name == name]
        self.spin_until(
            lambda: all(p.get_subscription_count() >= len(ears) for p in publishers), topic.name
        )


@pytest.fixture(scope='module')
def context() -> Iterator[Context]:
    """
    Return a context for the tests of one file, with one DDS participant from first to last.

    A participant lives as long as a node of its context. A node that outlives the tests spares
    the middleware one participant a test: Fast DDS can deadlock where endpoints are destroyed
    (eProsima/Fast-DDS#6193). One for all files grows slower with each test.
    """
    context = Context()
    rclpy.init(context=context)
    keeper = Node('keeper', context=context, start_parameter_services=False)
    yield context
    keeper.destroy_node()
    context.try_shutdown()


@pytest.fixture
def stage(context) -> Iterator[Stage]:
    """Return an empty stage."""
    stage = Stage(context)
    yield stage
    stage.close()


@pytest.fixture(scope='session')
def shelf(tmp_path_factory):
    """
    Return a function that returns release ``version`` for an embodiment; made once a run.

    All releases for one embodiment are in one store.
    """
    made: dict[tuple[int, str], Any] = {}
    runs: dict[str, Path] = {}

    def release(version: int, robot: Embodiment | None = None) -> Any:
        robot = robot or table_arm()
        key = (version, robot.hash)
        if robot.hash not in runs:
            runs[robot.hash] = tmp_path_factory.mktemp('shelf')
        if key not in made:
            made[key] = publish_untrained(runs[robot.hash], version, robot)
        return made[key]

    return release


@pytest.fixture
def yaml_of(tmp_path):
    """Return a function that writes an embodiment's file and returns its path."""
    return lambda robot: str(save_embodiment(robot, tmp_path / f'{robot.hash}.yaml'))


@pytest.fixture
def make_event(embodiment):
    """Return a function that makes an event of an episode, by default START."""

    def make(episode_id: str = 'first', stamp: int = FIRST_STAMP, **fields: Any) -> EpisodeEvent:
        known = {
            'event': EpisodeEvent.START,
            'kind': 'practice',
            'instruction': SENTENCE,
            'seed': 3,
            'embodiment_hash': embodiment.hash,
        }
        return stamped(EpisodeEvent(episode_id=episode_id, **{**known, **fields}), stamp)

    return make
