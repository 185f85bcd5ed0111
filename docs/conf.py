"""Settings of the documentation site. ``make docs`` builds it into ``build/docs``."""

from __future__ import annotations

from pathlib import Path
import sys
from xml.etree import ElementTree

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(DOCS)]

project = 'efm'
author = 'The efm authors'
project_copyright = '2026, The efm authors'
release = ElementTree.parse(ROOT / 'package.xml').findtext('version')

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'site_extension']
source_suffix = {'.md': 'markdown'}
exclude_patterns = ['results/**']  # data and pictures of docs/results.md
myst_heading_anchors = 4  # a link to page.md#heading works on the site as in the repository

html_theme = 'furo'
html_title = f'{project} {release}'

autodoc_member_order = 'bysource'
autodoc_preserve_defaults = True
autodoc_typehints_format = 'short'
python_use_unqualified_type_names = True
# The API pages need requirements/docs.txt and requirements/robot.txt. Sphinx never imports the
# modules below, even where they are installed.
autodoc_mock_imports = [
    # ROS 2
    'action_msgs',
    'builtin_interfaces',
    'diagnostic_msgs',
    'efm_interfaces',
    'geometry_msgs',
    'launch',
    'launch_ros',
    'rcl_interfaces',
    'rclpy',
    'rosgraph_msgs',
    'sensor_msgs',
    'std_msgs',
    'std_srvs',
    'tf2_msgs',
    'trajectory_msgs',
    # simulation
    'gym_pusht',
    'gymnasium',
    'honcho',
    'metaworld',
    'mink',
    'mujoco',
    'pymunk',
    'rich',
    # learning
    'PIL',
    'filelock',
    'matplotlib',
    'onnx',
    'safetensors',
    'scipy',
    'torch',
    'transformers',
]
