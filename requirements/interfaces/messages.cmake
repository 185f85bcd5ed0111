# Generates the interfaces of one package from every file of its folders, with ROS 2 wheels from PyPI.
find_package(ament_cmake REQUIRED)
find_package(rosidl_default_generators REQUIRED)

include("${CMAKE_CURRENT_LIST_DIR}/../../efm_interfaces/cmake/drop_missing_include_folders.cmake")
drop_missing_include_folders("${CMAKE_CURRENT_SOURCE_DIR}")

file(GLOB files RELATIVE "${CMAKE_CURRENT_SOURCE_DIR}" "msg/*.msg" "action/*.action")
rosidl_generate_interfaces(${PROJECT_NAME} ${files} DEPENDENCIES ${DEPENDENCIES})
ament_export_dependencies(rosidl_default_runtime)
ament_package()
