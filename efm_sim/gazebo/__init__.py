"""The table in Gazebo Classic and Gazebo Harmonic, with the dimensions of the MuJoCo table."""
