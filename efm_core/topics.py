"""
The topic table: the only place that names topics.

Names are relative to the namespace of a robot. Each topic has one of four quality-of-service
(QoS) profiles, which ``ros_topics.py`` defines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, KW_ONLY, replace
from typing import TYPE_CHECKING

from efm_core.command import Command

if TYPE_CHECKING:  # an embodiment may not use the names of this table
    from efm_core.embodiment import Camera

SENSOR_DATA = 'sensor_data'  # best effort: the newest sample counts, one may be lost
RELIABLE = 'reliable'  # no sample may be lost
DURABLE = 'durable'  # no sample may be lost, and late subscribers receive the history
LATCHED = 'latched'  # late subscribers receive the last sample


@dataclass(frozen=True)
class Topic:
    """
    One row of the table.

    :param name: relative name; a leading slash makes it absolute.
    :param type: ROS 2 type, ``package/msg/Name``.
    :param qos: ``sensor_data``, ``reliable``, ``durable`` or ``latched``.
    :param meaning: content of a sample, for the documentation.
    """

    name: str
    type: str
    _: KW_ONLY
    qos: str
    meaning: str


IMAGE = Topic('image', 'sensor_msgs/msg/Image', qos=SENSOR_DATA, meaning='image of the camera')
OBSERVATION = Topic(
    'observation',
    'sensor_msgs/msg/CompressedImage',
    qos=DURABLE,
    meaning="the policy's input: the cropped and resized image, PNG",
)
JOINT_STATES = Topic(
    'joint_states',
    'sensor_msgs/msg/JointState',
    qos=SENSOR_DATA,
    meaning='measured joint positions',
)
PROPRIOCEPTION = Topic(
    'proprioception',
    'sensor_msgs/msg/JointState',
    qos=DURABLE,
    meaning="the policy's input besides images: one name and one position for each number",
)
INSTRUCTION = Topic(
    'instruction',
    'std_msgs/msg/String',
    qos=LATCHED,
    meaning='instruction of the episode: the goal g',
)
ACTION = Topic(
    'action',
    'efm_interfaces/msg/Action',
    qos=DURABLE,
    meaning='action of the policy or of a demonstrator',
)
COMMAND = Topic(
    'command',
    'geometry_msgs/msg/TwistStamped',
    qos=RELIABLE,
    meaning="the guard's command to the driver",
)
EXECUTED = Topic(
    'executed',
    'efm_interfaces/msg/Action',
    qos=DURABLE,
    meaning='executed action, for drivers whose messages lack its stamp',
)
STEPS_TO_GO = Topic(
    'steps_to_go',
    'efm_interfaces/msg/StepsToGo',
    qos=DURABLE,
    meaning='distribution over steps-to-go, its mean d, detected success',
)
PERMIT = Topic(
    'permit',
    'efm_interfaces/msg/Permit',
    qos=RELIABLE,
    meaning='permission to move, from the supervisor to the guard',
)
EPISODE_EVENT = Topic(
    'episode_event',
    'efm_interfaces/msg/EpisodeEvent',
    qos=LATCHED,
    meaning='start or end of an episode',
)
OUTCOME = Topic(
    'outcome',
    'efm_interfaces/msg/EpisodeOutcome',
    qos=LATCHED,
    meaning='outcome and termination of an episode',
)
POLICY_RELEASE = Topic(
    'policy_release',
    'efm_interfaces/msg/PolicyRelease',
    qos=LATCHED,
    meaning='release that robots may load',
)
ESTOP = Topic(
    'estop',
    'std_msgs/msg/Bool',
    qos=LATCHED,
    meaning='emergency stop; true stops the robot until a person calls reset_estop',
)
ESTOP_RESET = Topic(
    'estop_reset',
    'std_msgs/msg/Bool',
    qos=RELIABLE,
    meaning='true: a person released the emergency stop with reset_estop',
)
RECORDING = Topic(
    'recording',
    'efm_interfaces/msg/Recording',
    qos=RELIABLE,
    meaning='notice that the bag of an episode is on disk',
)
TRAINER_STATUS = Topic(
    'trainer_status',
    'efm_interfaces/msg/TrainerStatus',
    qos=LATCHED,
    meaning='progress of the trainer',
)
WORLD_STATE = Topic(
    'world_state',
    'efm_interfaces/msg/WorldState',
    qos=DURABLE,
    meaning='simulator truth, for reports and demonstrators only',
)
TERMINATED = Topic(
    'terminated',
    'std_msgs/msg/Header',
    qos=RELIABLE,
    meaning='stamp of an observation on which a simulated scene has ended: only a reset goes on',
)
TELEOP_TWIST = Topic(
    'teleop_twist',
    'geometry_msgs/msg/TwistStamped',
    qos=SENSOR_DATA,
    meaning='velocity that the operator requests',
)
JOY = Topic('joy', 'sensor_msgs/msg/Joy', qos=RELIABLE, meaning='buttons of the operator')
DIAGNOSTICS = Topic(
    '/diagnostics',
    'diagnostic_msgs/msg/DiagnosticArray',
    qos=RELIABLE,
    meaning='rates, latencies, versions',
)

TABLE = (
    IMAGE,
    OBSERVATION,
    PROPRIOCEPTION,
    JOINT_STATES,
    INSTRUCTION,
    ACTION,
    COMMAND,
    EXECUTED,
    STEPS_TO_GO,
    PERMIT,
    EPISODE_EVENT,
    OUTCOME,
    POLICY_RELEASE,
    ESTOP,
    ESTOP_RESET,
    RECORDING,
    TRAINER_STATUS,
    WORLD_STATE,
    TERMINATED,
    TELEOP_TWIST,
    JOY,
    DIAGNOSTICS,
)

# Names that no driver of a robot may have for its own topics.
RESERVED = frozenset(
    topic.name.strip('/') for topic in TABLE if topic not in (IMAGE, COMMAND, JOINT_STATES)
)

# In lockstep the world is simulated and waits, so that no sample may be lost.
DURABLE_IN_LOCKSTEP = (IMAGE, JOINT_STATES, COMMAND)

# Transforms of the robot, in no namespace: tf2_msgs/msg/TFMessage.
TF = '/tf'
TF_STATIC = '/tf_static'

RUN_EPISODE = 'run_episode'  # action, efm_interfaces/action/RunEpisode
RESET_WORLD = 'reset_world'  # service, efm_interfaces/srv/ResetWorld
LABEL_EPISODE = 'label_episode'  # service, efm_interfaces/srv/LabelEpisode
# services, std_srvs/srv/Trigger
PAUSE = 'pause'
RESUME = 'resume'
TAKE_OVER = 'take_over'
HAND_BACK = 'hand_back'
RESET_ESTOP = 'reset_estop'


def is_durable(topic: Topic, lockstep: bool) -> bool:
    """Return whether late subscribers of a topic receive its history."""
    return topic.qos == DURABLE or (lockstep and topic in DURABLE_IN_LOCKSTEP)


def camera_topic(camera: Camera) -> Topic:
    """Return the topic of a camera; ``.../compressed`` is a CompressedImage."""
    is_compressed = camera.topic.rsplit('/', 1)[-1] == 'compressed'
    kind = 'CompressedImage' if is_compressed else 'Image'
    return Topic(camera.topic, f'sensor_msgs/msg/{kind}', qos=SENSOR_DATA, meaning=camera.name)


def observation_topics(cameras: Sequence[Camera]) -> tuple[Topic, ...]:
    """Return a topic for the policy's input from each camera; the first is the row."""
    others = (f'{OBSERVATION.name}_{camera.name}' for camera in cameras[1:])
    return (OBSERVATION, *(replace(OBSERVATION, name=name) for name in others))


def pose_topic(command: Command) -> Topic:
    """Return the topic of the tool's pose, of a robot whose guard reads one."""
    return Topic(
        command.pose_topic,
        'geometry_msgs/msg/PoseStamped',
        qos=SENSOR_DATA,
        meaning='pose of the tool',
    )


def executed_topic(command: Command) -> Topic:
    """Return the row whose stamps say which actions were executed; see `efm_core.executed`."""
    return command_topic(command) if command.is_simulated else EXECUTED


def command_topic(command: Command) -> Topic:
    """Return the row ``command`` with the topic and the type that a robot's driver takes."""
    return replace(COMMAND, name=command.topic or COMMAND.name, type=command.type)
