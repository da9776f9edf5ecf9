# copper_preemptible(target...)
#
# Compiles safe points (copper/preempt.h) into every function and every turn of every loop of the C and
# C++ sources of these targets. Each target, or what it ends up in, links copper::runtime.
#
# Part of the installed package.

function(copper_preemptible)
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    message(FATAL_ERROR "copper_preemptible: no safe points for ${CMAKE_SYSTEM_PROCESSOR}")
  endif()
  foreach(language C CXX)
    if(CMAKE_${language}_COMPILER AND NOT CMAKE_${language}_COMPILER_ID MATCHES "^(GNU|Clang)$")
      message(FATAL_ERROR "copper_preemptible: no safe points with ${CMAKE_${language}_COMPILER_ID}")
    endif()
  endforeach()
  foreach(target ${ARGV})
    # gcc instruments every block that has something in it. clang by default leaves out blocks that follow from others, and with
    # them loops without an end. Neither is a flag for the linker, which would add a runtime library.
    target_compile_options(${target} PRIVATE
      $<$<COMPILE_LANG_AND_ID:C,GNU>:-fsanitize-coverage=trace-pc>
      $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-fsanitize-coverage=trace-pc>
      $<$<COMPILE_LANG_AND_ID:C,Clang>:-fsanitize-coverage=bb,trace-pc,no-prune>
      $<$<COMPILE_LANG_AND_ID:CXX,Clang>:-fsanitize-coverage=bb,trace-pc,no-prune>)
    get_target_property(type ${target} TYPE)
    if(type STREQUAL "OBJECT_LIBRARY")
      target_sources(${target} INTERFACE $<TARGET_OBJECTS:copper::safe_point>)
    else()
      target_sources(${target} PRIVATE $<TARGET_OBJECTS:copper::safe_point>)
    endif()
  endforeach()
endfunction()
