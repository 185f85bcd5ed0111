"""The emergency stop's topics and the service that resets it."""

from __future__ import annotations

from collections.abc import Callable

from efm_core import ros_topics, topics
from rclpy.node import Node
from std_msgs.msg import Bool
from std_srvs.srv import Trigger


class EmergencySwitch:
    """
    Subscribes ``estop``, serves ``reset_estop`` and publishes ``estop_reset``.

    :param on_press: called for each sample that asks for a stop; one press may send several.
    :param on_reset: called when a person resets the stop.
    :ivar is_pressed: the newest sample asks for a stop.
    """

    def __init__(
        self, node: Node, *, on_press: Callable[[], None], on_reset: Callable[[], None]
    ) -> None:
        self._node = node
        self._on_press = on_press
        self._on_reset = on_reset
        self.is_pressed = False
        ros_topics.estop_subscriptions(node, self._on_estop)
        self._resets = ros_topics.publisher(node, topics.ESTOP_RESET)
        node.create_service(Trigger, topics.RESET_ESTOP, self._on_request)

    def _on_estop(self, message: Bool) -> None:
        self.is_pressed = message.data
        if message.data:
            self._on_press()

    def _on_request(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        """Reset the emergency stop, unless its switch still asks for it."""
        if self.is_pressed and self._node.count_publishers(topics.ESTOP.name):
            response.message = (
                'reset_estop: expected false as the newest estop, got true; release the switch '
                'first, or end its publisher'
            )
            return response
        self._on_reset()
        self._resets.publish(Bool(data=True))
        response.success = True
        return response
