"""
Type: ros2 launch efm harmonic.launch.py.

Gazebo Harmonic as a robot that runs already: never run. Beside it: ``efm evaluate --world real
--no-lockstep --fleet 1``.
"""

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    RegisterEventHandler,
)
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import Command, LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node, PushRosNamespace
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare


def generate_launch_description():
    """Start Gazebo without windows, put the arm into it, connect both to the robot's topics."""
    namespace = LaunchConfiguration('namespace')
    controllers = shared('config', 'gazebo', 'harmonic_controllers.yaml')
    words = [' hardware:=gz namespace:=', namespace, ' controllers:=', controllers]
    robot = Command(['xacro ', shared('urdf', 'arm.urdf.xacro'), *words])
    spawn = Node(
        package='ros_gz_sim',
        executable='create',
        arguments=['-world', 'table', '-topic', 'robot_description', '-name', 'arm'],
    )
    spawner = Node(
        package='controller_manager',
        executable='spawner',
        arguments=[
            'joint_state_broadcaster',
            'forward_position_controller',
            '--param-file',
            controllers,
        ],
    )
    gazebo = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(
            PathJoinSubstitution([FindPackageShare('ros_gz_sim'), 'launch', 'gz_sim.launch.py'])
        ),
        launch_arguments={
            'gz_args': ['-r -s --headless-rendering ', shared('worlds', 'table.harmonic.sdf')],
            'on_exit_shutdown': 'true',
        }.items(),
    )
    nodes = [
        Node(
            package='robot_state_publisher',
            executable='robot_state_publisher',
            parameters=[{'robot_description': ParameterValue(robot, value_type=str)}],
        ),
        Node(
            package='ros_gz_bridge',
            executable='parameter_bridge',
            parameters=[
                {
                    'config_file': shared('config', 'gazebo', 'harmonic_bridge.yaml'),
                    'override_timestamps_with_wall_time': True,
                }
            ],
        ),
        spawn,
        Node(
            package='efm',
            executable='gazebo_driver_node',
            parameters=[{'embodiment': LaunchConfiguration('embodiment')}],
        ),
    ]
    return LaunchDescription(
        [
            DeclareLaunchArgument('namespace', default_value='robot_0'),
            DeclareLaunchArgument(
                'embodiment', default_value=shared('config', 'embodiments', 'table_arm.yaml')
            ),
            gazebo,
            GroupAction([PushRosNamespace(namespace), *nodes]),
            RegisterEventHandler(
                OnProcessExit(
                    target_action=spawn,
                    on_exit=[GroupAction([PushRosNamespace(namespace), spawner])],
                )
            ),
        ]
    )


def shared(*words: str) -> PathJoinSubstitution:
    """Return where a file of this package is installed."""
    return PathJoinSubstitution([FindPackageShare('efm'), *words])
