"""
The topic table: the only place where topics are named.

Names are relative; a robot lives in a namespace. The four quality-of-service profiles are named
for why they are chosen.
"""

from __future__ import annotations

from dataclasses import dataclass, KW_ONLY, replace

from efm_core.command import Command

SENSOR_DATA = 'sensor_data'  # only the latest sample matters
RELIABLE = 'reliable'  # every sample is data
DURABLE = 'durable'  # every sample is data, also for a recorder that hears of its sender late
LATCHED = 'latched'  # late joiners need the last sample


@dataclass(frozen=True)
class Topic:
    """
    One row of the table.

    :param type: ROS 2 type, ``package/msg/Name``.
    :param qos: ``newest``, ``every``, ``kept`` or ``latched``.
    :param meaning: what a sample says, for people.
    """

    name: str
    type: str
    _: KW_ONLY
    qos: str
    meaning: str


IMAGE = Topic('image', 'sensor_msgs/msg/Image', qos=SENSOR_DATA, meaning='what the camera sees')
OBSERVATION = Topic(
    'observation',
    'sensor_msgs/msg/CompressedImage',
    qos=DURABLE,
    meaning="the policy's own input after crop and resize, PNG",
)
JOINT_STATES = Topic(
    'joint_states', 'sensor_msgs/msg/JointState', qos=SENSOR_DATA, meaning='proprioception'
)
INSTRUCTION = Topic('instruction', 'std_msgs/msg/String', qos=LATCHED, meaning='the goal g')
ACTION = Topic(
    'action',
    'efm_interfaces/msg/Action',
    qos=DURABLE,
    meaning='what the policy (or a demonstrator) wants to do',
)
COMMAND = Topic(
    'command',
    'geometry_msgs/msg/TwistStamped',
    qos=RELIABLE,
    meaning='what the guard lets through',
)
EXECUTED = Topic(
    'executed',
    'efm_interfaces/msg/Action',
    qos=DURABLE,
    meaning=(
        "the actions that became commands, where a driver's messages do not carry their stamps"
    ),
)
STEPS_TO_GO = Topic(
    'steps_to_go',
    'efm_interfaces/msg/StepsToGo',
    qos=DURABLE,
    meaning='distribution over steps-to-go, its mean d, success',
)
PERMIT = Topic(
    'permit',
    'efm_interfaces/msg/Permit',
    qos=RELIABLE,
    meaning='leave to move, from the supervisor to the guard',
)
EPISODE_EVENT = Topic(
    'episode_event',
    'efm_interfaces/msg/EpisodeEvent',
    qos=LATCHED,
    meaning='an episode starts or ends',
)
OUTCOME = Topic(
    'outcome', 'efm_interfaces/msg/EpisodeOutcome', qos=LATCHED, meaning='how an episode ended'
)
POLICY_RELEASE = Topic(
    'policy_release',
    'efm_interfaces/msg/PolicyRelease',
    qos=LATCHED,
    meaning='weights that robots may load',
)
ESTOP = Topic(
    'estop',
    'std_msgs/msg/Bool',
    qos=LATCHED,
    meaning='true stops everything until a person resets it',
)
RECORDING = Topic(
    'recording',
    'efm_interfaces/msg/Recording',
    qos=RELIABLE,
    meaning='the bag of an episode is on disk',
)
TRAINER_STATUS = Topic(
    'trainer_status',
    'efm_interfaces/msg/TrainerStatus',
    qos=LATCHED,
    meaning='how far the trainer is',
)
WORLD_STATE = Topic(
    'world_state',
    'efm_interfaces/msg/WorldState',
    qos=DURABLE,
    meaning='simulator truth: for reports and the demonstrator, never for learning',
)
TELEOP_TWIST = Topic(
    'teleop_twist',
    'geometry_msgs/msg/TwistStamped',
    qos=SENSOR_DATA,
    meaning="how fast a person's hand wants it",
)
JOY = Topic('joy', 'sensor_msgs/msg/Joy', qos=RELIABLE, meaning="a person's buttons")
DIAGNOSTICS = Topic(
    '/diagnostics',
    'diagnostic_msgs/msg/DiagnosticArray',
    qos=RELIABLE,
    meaning='rates, latencies, versions',
)

TABLE = (
    IMAGE,
    OBSERVATION,
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
    RECORDING,
    TRAINER_STATUS,
    WORLD_STATE,
    TELEOP_TWIST,
    JOY,
    DIAGNOSTICS,
)

# A world that waits is the suite's own, and so is what is said to it: nothing of it may be lost.
DURABLE_IN_LOCKSTEP = (IMAGE, JOINT_STATES, COMMAND)

# Of the robot, in no namespace: tf2_msgs/msg/TFMessage.
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


def is_durable(topic: Topic, lockstep: bool) -> bool:
    """Return whether the senders of a row keep what they said, for a recorder that hears late."""
    return topic.qos == DURABLE or (lockstep and topic in DURABLE_IN_LOCKSTEP)


def command_topic(command: Command) -> Topic:
    """Return the row of the table for what this robot's driver takes."""
    return replace(COMMAND, name=command.topic or COMMAND.name, type=command.type)
