"""The ROS 2 package `efm`; the same file serves colcon and pip."""

from glob import glob
from pathlib import Path

from setuptools import find_packages, setup

NAME = 'efm'
NODES = {
    'policy_node': 'efm_policy.node',
    'remote_policy_node': 'efm_policy.remote_node',
    'server_node': 'efm_policy.server_node',
    'reward_node': 'efm_reward.node',
    'supervisor_node': 'efm_supervisor.node',
    'guard_node': 'efm_guard.node',
    'guard_watch_node': 'efm_guard.watch_node',
    'recorder_node': 'efm_data.recorder_node',
    'fleet_node': 'efm_supervisor.fleet_node',
    'teleoperation_node': 'efm_supervisor.teleoperation_node',
    'world_node': 'efm_sim.node',
    'fake_driver_node': 'efm_sim.fake_arm.node',
    'gazebo_driver_node': 'efm_sim.gazebo.driver_node',
    'demonstrator_node': 'efm_sim.demonstrator_node',
    'trainer_node': 'efm_trainer.node',
}


def required(kind: str) -> list:
    """Return the packages of a requirements file."""
    lines = (
        Path(__file__).with_name('requirements').joinpath(f'{kind}.txt').read_text().splitlines()
    )
    return [line for line in lines if line and not line.startswith('#')]


def shared(pattern: str) -> list:
    """Return the files of a pattern as data files, each under its own folder of ``share/efm``."""
    files = [path for path in glob(pattern, recursive=True) if Path(path).is_file()]
    return [(str(Path('share', NAME, path).parent), [path]) for path in sorted(files)]


setup(
    name=NAME,
    version='0.1.0',
    description='Robots that practise by themselves and come back better',
    maintainer='The efm authors',
    maintainer_email='maintainers@efm.invalid',
    license='Apache-2.0',
    packages=find_packages(include=['efm', 'efm_*'], exclude=['efm_interfaces*']),
    package_data={
        'efm': ['py.typed'],
        'efm_data': ['label_page.html'],
        'efm_model': ['weights/*'],
        'efm_policy.serving': ['serving.proto', 'serving.desc'],
    },
    data_files=[
        ('share/ament_index/resource_index/packages', ['resource/efm']),
        (f'share/{NAME}', ['package.xml']),
        *shared('launch/*.launch.py'),
        *shared('config/**'),
        *shared('urdf/**'),
        *shared('worlds/**'),
        *shared('tools/set_up_gazebo.sh'),
    ],
    python_requires='>=3.10',
    install_requires=['setuptools'],
    extras_require={'test': ['pytest'], 'vlm': [*required('trainer'), *required('vlm')]},
    zip_safe=False,
    entry_points={
        'console_scripts': [
            'efm = efm.cli:main',
            *(f'{node} = {module}:main' for node, module in NODES.items()),
        ],
    },
)
