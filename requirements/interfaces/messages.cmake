# Generates the interfaces of one package from every file of its folders, with ROS 2 wheels from PyPI. Their targets name
# include folders of the machine that built them, and CMake refuses those: folders that do not exist are dropped.
find_package(ament_cmake REQUIRED)
find_package(rosidl_default_generators REQUIRED)

get_property(targets DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}" PROPERTY IMPORTED_TARGETS)
foreach(target IN LISTS targets)
  get_target_property(folders "${target}" INTERFACE_INCLUDE_DIRECTORIES)
  if(folders)
    set(kept "")
    foreach(folder IN LISTS folders)
      if(folder MATCHES "^\\$<" OR EXISTS "${folder}")
        list(APPEND kept "${folder}")
      endif()
    endforeach()
    set_target_properties("${target}" PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${kept}")
  endif()
endforeach()

file(GLOB files RELATIVE "${CMAKE_CURRENT_SOURCE_DIR}" "msg/*.msg" "action/*.action")
rosidl_generate_interfaces(${PROJECT_NAME} ${files} DEPENDENCIES ${DEPENDENCIES})
ament_export_dependencies(rosidl_default_runtime)
ament_package()
