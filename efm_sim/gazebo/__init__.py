"""The table in Gazebo: world files made from the numbers of the MuJoCo table, and a server."""
