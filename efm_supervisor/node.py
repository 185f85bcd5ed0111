"""The supervisor node: episodes, resets, leave to move."""

from __future__ import annotations

from functools import partial
import time
from typing import Any

from efm_core import ros_topics, topics
from efm_core.embodiment import load_embodiment
from efm_core.episode import Outcome, Termination
from efm_core.messages import to_chunk_steps, to_ns, to_stamp
from efm_core.ros_diagnostics import Diagnostics
from efm_core.ros_lifecycle import ManagedNode, run
from efm_core.ros_messages import from_ns, from_outcome, stamped
from efm_interfaces.action import RunEpisode
from efm_interfaces.msg import Action, EpisodeEvent, EpisodeOutcome, Recording, StepsToGo
from efm_interfaces.msg import Permit as PermitMessage
from efm_interfaces.srv import LabelEpisode
from efm_interfaces.srv import ResetWorld as ResetWorldService
from efm_supervisor.config import SupervisorConfig
from efm_supervisor.supervisor import (
    End,
    Ending,
    Finish,
    Goal,
    Permit,
    ResetWorld,
    Start,
    Supervisor,
)
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.clock import Clock, ClockType
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger


class SupervisorNode(ManagedNode):
    """
    Run one episode at a time, for whoever asks.

    Serves ``run_episode``, ``label_episode``, ``pause``, ``resume``, ``take_over``, ``hand_back``;
    calls ``reset_world``; subscribes ``action``, ``steps_to_go``, ``recording``, ``estop``;
    publishes ``episode_event``, ``outcome``, ``permit``, ``instruction``.
    """

    config_type = SupervisorConfig

    def __init__(self, **kwargs: Any):
        """Wait for configure."""
        super().__init__('supervisor', **kwargs)

    def build(self) -> None:
        """Build the state machine and connect it."""
        config = self.config
        self._embodiment = load_embodiment(config.embodiment)
        self._supervisor = Supervisor(
            self._embodiment.episode,
            config.lockstep,
            reward_enabled=config.reward_enabled,
            recorder_enabled=config.recorder_enabled,
            stall_timeout_s=config.stall_timeout_s,
            period_s=1 / self._embodiment.control_rate_hz,
            detector_ends_episode=config.detector_ends_episode,
            chunk=self._embodiment.action.chunk,
        )
        self._does = {
            ResetWorld: self._reset,
            Start: self._start,
            Permit: self._permit,
            End: self._end,
            Finish: self._finish,
        }
        self._handle: Any = None
        self._diagnostics = Diagnostics(self)
        self._connect_topics()
        self._connect_services()
        self.create_timer(
            1 / config.tick_rate_hz, self._on_tick, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def dismantle(self) -> None:
        """Withdraw the offer of episodes too."""
        if self._server is not None:
            self._server.destroy()
            self._server = None
        super().dismantle()

    def hold(self) -> None:
        """End what is under way."""
        self._do(self._supervisor.stop(Termination.STOPPED, 'the supervisor was stopped'))

    def _connect_topics(self) -> None:
        self._events = ros_topics.publisher(self, topics.EPISODE_EVENT)
        self._outcomes = ros_topics.publisher(self, topics.OUTCOME)
        self._permits = ros_topics.publisher(self, topics.PERMIT)
        self._instructions = ros_topics.publisher(self, topics.INSTRUCTION)
        ros_topics.subscription(self, topics.ACTION, self._on_action)
        ros_topics.subscription(self, topics.STEPS_TO_GO, self._on_steps_to_go)
        ros_topics.subscription(self, topics.RECORDING, self._on_recording)
        ros_topics.subscription(self, topics.ESTOP, self._on_estop)

    def _connect_services(self) -> None:
        self._world = self.create_client(ResetWorldService, topics.RESET_WORLD)
        self._server: ActionServer | None = None
        self.create_service(LabelEpisode, topics.LABEL_EPISODE, self._on_label)
        for name, action in (
            (topics.PAUSE, self._pause),
            (topics.RESUME, self._resume),
            (topics.TAKE_OVER, self._take_over),
            (topics.HAND_BACK, self._resume),
        ):
            self.create_service(Trigger, name, action)

    def _missing_peers(self) -> list[str]:
        """Return what an episode needs that nobody offers yet."""
        command = topics.command_topic(self._embodiment.command)
        spoken = [topics.ACTION, command]
        spoken += [topics.STEPS_TO_GO] if self.config.reward_enabled else []
        spoken += [topics.RECORDING] if self.config.recorder_enabled else []
        missing = [topic.name for topic in spoken if not self.count_publishers(topic.name)]
        missing += [] if self.count_subscribers(command.name) else ['a robot']
        return missing + ([] if self._world.service_is_ready() else [topics.RESET_WORLD])

    def _open(self) -> None:
        """Offer ``run_episode`` once everybody is there, so that no first message is lost."""
        missing = self._missing_peers()
        if missing:
            self.get_logger().info(
                f'waiting for {", ".join(missing)}', throttle_duration_sec=5.0, skip_first=True
            )
            return
        self._server = ActionServer(
            self,
            RunEpisode,
            topics.RUN_EPISODE,
            execute_callback=self._conclude,
            handle_accepted_callback=self._on_accepted,
            goal_callback=self._on_goal,
            cancel_callback=self._on_cancel,
        )

    # What comes in.

    def _on_tick(self) -> None:
        if self._server is None:
            self._open()
        self._do(self._supervisor.tick(time.monotonic()))

    def _on_goal(self, request: RunEpisode.Goal) -> GoalResponse:
        held = self._supervisor.paused or self._supervisor.emergency
        free = self.is_active and self._handle is None and not held
        return GoalResponse.ACCEPT if free else GoalResponse.REJECT

    def _on_cancel(self, handle: Any) -> CancelResponse:
        self._do(self._supervisor.stop(Termination.STOPPED, 'cancelled'))
        return CancelResponse.ACCEPT

    def _on_accepted(self, handle: Any) -> None:
        """Begin the attempt; the goal is executed when it is over, so that nothing polls."""
        self._handle = handle
        request = handle.request
        goal = Goal(
            request.episode_id,
            request.index,
            kind=request.kind,
            instruction=request.instruction,
            seed=request.seed,
            max_steps=request.max_steps,
            policy_version=request.policy_version,
        )
        try:
            self._do(self._supervisor.begin(goal, time.monotonic()))
        except ValueError as error:
            self.get_logger().error(str(error))
            ending = Ending(
                Outcome.UNLABELLED, Termination.FAULT, stamp=0, steps=0, detail=str(error)
            )
            self._conclude_with(self._outcome(goal, ending), '')

    def _conclude_with(self, outcome: Any, recording: str) -> None:
        self._result = RunEpisode.Result(outcome=outcome, recording=recording)
        handle, self._handle = self._handle, None
        handle.execute()

    def _conclude(self, handle: Any) -> RunEpisode.Result:
        """Tell whoever asked how it went."""
        handle.succeed()
        return self._result

    def _on_action(self, message: Action) -> None:
        self._do(
            self._supervisor.on_action(
                message.episode_id,
                to_stamp(message),
                message.policy_version,
                time.monotonic(),
                to_chunk_steps(message),
            )
        )

    def _on_steps_to_go(self, message: StepsToGo) -> None:
        self._do(
            self._supervisor.on_steps_to_go(
                message.episode_id,
                to_stamp(message),
                message.steps_to_go,
                message.success,
                message.reward_version,
                time.monotonic(),
            )
        )

    def _on_recording(self, message: Recording) -> None:
        self._do(
            self._supervisor.on_recorded(
                message.episode_id, message.success, message.uri, message.detail
            )
        )

    def _on_estop(self, message: Bool) -> None:
        self._do(self._supervisor.on_emergency(message.data))

    def _on_label(self, request: LabelEpisode.Request, response: LabelEpisode.Response) -> Any:
        try:
            self._do(
                self._supervisor.on_label(
                    request.episode_id, request.outcome, to_ns(request.stamp)
                )
            )
            response.success = True
        except ValueError as error:
            response.message = str(error)
        return response

    def _pause(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Finish the running episode, then accept no other."""
        self._supervisor.paused = response.success = True
        return response

    def _resume(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._supervisor.paused = False
        response.success = True
        return response

    def _take_over(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """End the episode at once: a person moves the robot from here."""
        self._supervisor.paused = response.success = True
        self._do(self._supervisor.stop(Termination.INTERVENTION, 'a person took over'))
        return response

    # What goes out.

    def _do(self, commands: list) -> None:
        for command in commands:
            self._does[type(command)](command)

    def _reset(self, command: ResetWorld) -> None:
        request = ResetWorldService.Request(seed=command.seed, instruction=command.instruction)
        self._world.call_async(request).add_done_callback(partial(self._on_reset, command.attempt))

    def _on_reset(self, attempt: int, future: Any) -> None:
        answer = future.result()
        self._do(
            self._supervisor.on_reset(
                attempt,
                answer.success,
                answer.instruction,
                to_ns(answer.stamp),
                answer.message,
                time.monotonic(),
            )
        )

    def _start(self, command: Start) -> None:
        self._running = self._event(command.goal, EpisodeEvent.START, command.stamp)
        self._instructions.publish(String(data=command.goal.instruction))
        self._events.publish(self._running)

    def _permit(self, command: Permit) -> None:
        lease_ns = int(1e9 * self.config.permit_duration_s)
        until = 0 if self.config.lockstep else self.get_clock().now().nanoseconds + lease_ns
        self._permits.publish(
            stamped(
                PermitMessage(
                    episode_id=command.episode_id,
                    lockstep=self.config.lockstep,
                    valid_until=from_ns(until),
                ),
                command.stamp,
            )
        )

    def _end(self, command: End) -> None:
        """Announce the end, then the outcome; the event alone already stops policy and guard."""
        ending = command.ending
        goal = self._supervisor.goal
        self._events.publish(self._event(goal, EpisodeEvent.END, ending.stamp))
        self._outcomes.publish(self._outcome(goal, ending))
        self._diagnostics.counts[ending.termination.value] += 1
        self.get_logger().info(
            f'{goal.episode_id}: {ending.outcome.value} ({ending.termination.value}), '
            f'{ending.steps} steps, policy {ending.policy_version}, "{goal.instruction}" '
            f'{ending.detail}'
        )

    def _finish(self, command: Finish) -> None:
        if self._handle is not None:
            outcome = self._outcome(self._supervisor.goal, command.ending)
            self._conclude_with(outcome, command.recording)

    def _outcome(self, goal: Goal, ending: Ending) -> EpisodeOutcome:
        return from_outcome(
            self._event(goal, EpisodeEvent.END, ending.stamp),
            ending.stamp,
            outcome=ending.outcome.value,
            termination=ending.termination.value,
            detail=ending.detail,
            steps=ending.steps,
            policy_version=ending.policy_version,
            reward_version=ending.reward_version,
            steps_to_go=float(ending.steps_to_go),
        )

    def _event(self, goal: Goal, kind: int, stamp: int) -> EpisodeEvent:
        return stamped(
            EpisodeEvent(
                event=kind,
                episode_id=goal.episode_id,
                index=goal.index,
                kind=goal.kind,
                instruction=goal.instruction,
                seed=goal.seed,
                max_steps=goal.max_steps,
                policy_version=goal.policy_version,
                embodiment_hash=self._embodiment.hash,
            ),
            stamp,
        )


def main(args: list[str] | None = None) -> None:
    """Run the supervisor node."""
    run(SupervisorNode, args)


if __name__ == '__main__':
    main()
