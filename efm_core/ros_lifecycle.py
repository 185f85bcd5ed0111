"""The lifecycle of every node: configure builds, activate starts, every way out holds."""

from __future__ import annotations

import faulthandler
import gc
import os
import sys
import time
import traceback
from typing import Any, ClassVar

from efm_core.machine import ensure_log_folder, use_utf8
from efm_core.ros_params import declare
from efm_core.stop_signals import on_stop
import rclpy
from rclpy.context import Context
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions

CLOSING_S = 3.0  # for topics and DDS to close, after the node has sent its last command
ENTITIES = ('publisher', 'subscription', 'timer', 'service', 'client')


class ManagedNode(LifecycleNode):
    """
    A lifecycle node with one configuration class and three hooks: `build`, `begin` and `hold`.

    `build` runs on configure; it raises ValueError, OSError, ImportError or RuntimeError to fail.
    `begin` runs on activate. `hold` runs on deactivate and on every other way out.

    :cvar config_type: configuration class; its fields are the parameters of the node.
    :ivar config: the configuration, from configure on.
    :ivar is_active: the node is between activate and deactivate.
    """

    config_type: ClassVar[type[Any]]
    config: Any

    def __init__(self, name: str, **kwargs: Any):
        """Declare the parameters of every node; configure declares the others."""
        super().__init__(name, **kwargs)
        self.is_active = False
        self._autostart = self.declare_parameter('autostart', True).value

    def build(self) -> None:
        """Load models and files, and connect the topics."""

    def begin(self) -> None:
        """Start to act."""

    def hold(self) -> None:
        """Stop to act, and leave the robot at rest."""

    def autostart(self) -> None:
        """
        Configure and activate, unless the parameter `autostart` is false.

        :raises RuntimeError: when a transition fails.
        """
        if not self._autostart:
            return
        for transition in (self.trigger_configure, self.trigger_activate):
            if transition() != TransitionCallbackReturn.SUCCESS:
                raise RuntimeError(f'{self.get_name()}: {transition.__name__} failed')

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read the parameters and build; a wrong configuration fails here, before any motion."""
        self._own = {kind: list(getattr(self, kind + 's')) for kind in ENTITIES}
        try:
            self.config = declare(self, self.config_type)
            self.build()
        except (ValueError, OSError, ImportError, RuntimeError) as error:
            self.get_logger().error(f'not configured: {error}')
            self.dismantle()
            return TransitionCallbackReturn.FAILURE
        except Exception:  # rclpy would hide it; a defect of the program must be visible
            self.get_logger().fatal(traceback.format_exc())
            raise
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start to act."""
        self.is_active = True
        self.begin()
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Hold."""
        self._leave()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Return to the state before configure."""
        self.dismantle()
        return super().on_cleanup(state)

    def dismantle(self) -> None:
        """Destroy the entities that `build` created, so that it can run again."""
        for kind in ENTITIES:
            for entity in list(getattr(self, kind + 's')):
                if entity not in self._own[kind]:
                    getattr(self, f'destroy_{kind}')(entity)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Hold, from any state."""
        self._leave()
        return super().on_shutdown(state)

    def _leave(self) -> None:
        if self.is_active:
            self.is_active = False
            self.hold()


def make_executor(context: Context | None = None) -> Executor:
    """Return the fastest single-threaded executor of this rclpy."""
    try:
        from rclpy.experimental import EventsExecutor
    except ImportError:
        return SingleThreadedExecutor(context=context)
    return EventsExecutor(context=context)


class OrphanAlarm:
    """
    Detects that the launcher of this process is gone.

    A robot must stop when its launcher was killed. The environment variable ``EFM_LAUNCHER``
    contains the process id of the launcher; without it nothing is checked.
    """

    def __init__(self, period_s: float = 1.0):
        self._launcher = int(os.environ.get('EFM_LAUNCHER', 0))
        self._period_s = period_s
        self._next = 0.0

    def __call__(self) -> bool:
        """Return whether the launcher is gone; check once a period."""
        now = time.monotonic()
        if not self._launcher or now < self._next:
            return False
        self._next = now + self._period_s
        try:
            os.kill(self._launcher, 0)
        except OSError:
            return True
        return False


def run(node_class: type, args: list[str] | None = None) -> None:
    """
    Run one node until SIGINT, SIGTERM or SIGHUP, then shut it down and exit the process.

    This function handles the signals, not rclpy: rclpy would close the topics before the node can
    send its last command, *stop*. The loop processes one event at a time, so that Python can run
    signal handlers. An exception in a callback ends the node too; it holds first, like on every
    other way out.
    """
    if args is None:
        use_utf8()
    ensure_log_folder()
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    signals: list[int] = []
    on_stop(lambda number, frame: signals.append(number))
    executor = make_executor()
    node: Any = None
    code = 1
    try:
        node = node_class()
        executor.add_node(node)
        if hasattr(node, 'autostart'):
            node.autostart()
        orphaned = OrphanAlarm()
        while not signals and not getattr(node, 'is_done', False) and not orphaned():
            executor.spin_once(timeout_sec=0.2)
        code = getattr(node, 'exit_code', 0)
    except (RuntimeError, ValueError, OSError) as error:
        print(f'{node_class.__name__}: {error}', file=sys.stderr)
    except Exception:  # a defect of the program must be visible
        traceback.print_exc()
    finally:
        _close(node)
    gc.freeze()  # otherwise the last garbage collection walks through torch for seconds
    sys.exit(code)


def _close(node: Any) -> None:
    """
    Shut a node down, so that it holds, and end rclpy.

    The node has sent its last command before its topics close. If closing them hangs, which DDS
    does rarely, the process prints where and ends itself.
    """
    try:
        if hasattr(node, 'trigger_shutdown'):
            node.trigger_shutdown()
        faulthandler.dump_traceback_later(CLOSING_S, exit=True)
        if node is not None:
            node.destroy_node()
    except Exception:  # nothing may keep the process from its end
        traceback.print_exc()
    finally:
        rclpy.try_shutdown()
