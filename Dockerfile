# Development image: Ubuntu 24.04 with ROS 2 Jazzy and the suite's dependencies. It was never built.
# docker build -t efm . && docker run -it --rm -v "$PWD":/efm efm
FROM ros:jazzy-ros-base

RUN apt-get update && apt-get install -y --no-install-recommends \
        git libegl1 libgl1-mesa-dri libopengl0 make python3-pip python3-venv ros-dev-tools \
    && rm -rf /var/lib/apt/lists/*

# Ubuntu 24.04 refuses pip beside apt (PEP 668): docs/install.md says why an environment is needed.
RUN /usr/bin/python3 -m venv --system-site-packages /venv
ENV PATH=/venv/bin:$PATH VIRTUAL_ENV=/venv

WORKDIR /efm
COPY package.xml ./
COPY efm_interfaces/package.xml efm_interfaces/
RUN apt-get update && rosdep update \
    && rosdep install --from-paths . efm_interfaces --ignore-src -y --skip-keys "python3-onnxruntime-pip \
        python3-rosbags-pip ros_gz_sim ros_gz_bridge gz_ros2_control controller_manager \
        forward_command_controller joint_state_broadcaster robot_state_publisher" \
    && rm -rf /var/lib/apt/lists/*

COPY requirements requirements
RUN pip install --no-cache-dir -c requirements/constraints.txt 'setuptools<80' -r requirements/robot.txt \
        -r requirements/sim.txt -r requirements/trainer.txt -r requirements/test.txt -r requirements/docs.txt \
    && pip install --no-cache-dir -c requirements/constraints.txt --no-deps -r requirements/text.txt

CMD ["bash"]
