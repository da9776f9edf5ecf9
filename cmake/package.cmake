# How others find us: CMake targets copper::runtime, copper::profiler, ... and copper::copper (all of
# them), and one pkg-config file each, of the same names: copper-runtime, ..., copper.

include(CMakePackageConfigHelpers)

# The environment turns these on in programs that call nothing of them, so a linker that drops what is
# not called (--as-needed, many a distribution's default) has to keep them; copper-config.cmake too.
set(kept "profiler|leakcheck|heap")

# copper_pkgconfig(NAME description REQUIRES...)
function(copper_pkgconfig name description)
  set(PC_NAME ${name})
  set(PC_DESCRIPTION ${description})
  string(REPLACE ";" " " PC_REQUIRES "${ARGN}")
  set(PC_LIBS "")
  if(NOT name STREQUAL "copper")
    string(REPLACE "copper-" "-lcopper_" library ${name})
    if(name MATCHES "-(${kept})$")
      set(library -Wl,--push-state,--no-as-needed,${library},--pop-state)
    endif()
    set(PC_LIBS "-L\${libdir} ${library}")
  endif()
  configure_file(${PROJECT_SOURCE_DIR}/cmake/copper.pc.in ${PROJECT_BINARY_DIR}/${name}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/${name}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endfunction()

copper_pkgconfig(copper-runtime "stackful M:N coroutines for C")
copper_pkgconfig(copper-proto "pprof profiles: build, merge, write, read")
copper_pkgconfig(copper-profiler "sampling profiler serving /debug/pprof")
copper_pkgconfig(copper-heap "wraps malloc for heap profiles")
copper_pkgconfig(copper-leakcheck "finds stranded coroutines" copper-runtime)
copper_pkgconfig(copper-cmocka "leak assertions in cmocka tests" copper-leakcheck cmocka)
copper_pkgconfig(copper "profiling and leak detection for C"
                 copper-runtime copper-profiler copper-leakcheck)

add_library(copper_umbrella INTERFACE)
add_library(copper::copper ALIAS copper_umbrella)
target_link_libraries(copper_umbrella INTERFACE copper_runtime copper_profiler copper_leakcheck)
set_target_properties(copper_umbrella PROPERTIES EXPORT_NAME copper)
install(TARGETS copper_umbrella EXPORT copper)

install(EXPORT copper NAMESPACE copper:: FILE copper-targets.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/copper)
configure_package_config_file(cmake/copper-config.cmake.in ${PROJECT_BINARY_DIR}/copper-config.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/copper)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/copper-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/copper-config.cmake
  ${PROJECT_BINARY_DIR}/copper-config-version.cmake cmake/preempt.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/copper)
