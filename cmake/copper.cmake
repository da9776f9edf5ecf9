# What every copper library shares: language, warnings, sanitizers, visibility, output folders and
# install rules. Folder CMakeLists.txt files only say which sources and which arrows they have.

include(GNUInstallDirs)
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
set(CMAKE_BUILD_RPATH_USE_ORIGIN ON)
# an installed command finds its libraries beside it, wherever the tree is unpacked
file(RELATIVE_PATH copper_libdir_from_bin /${CMAKE_INSTALL_BINDIR} /${CMAKE_INSTALL_LIBDIR})
set(CMAKE_INSTALL_RPATH "$ORIGIN;$ORIGIN/${copper_libdir_from_bin}")

add_library(copper_flags INTERFACE)
# Debug information is always made: a profiler that cannot name its own lines convinces nobody.
target_compile_options(copper_flags INTERFACE
  -g -Wall -Wextra -Wshadow -Werror
  $<$<COMPILE_LANGUAGE:C>:-Wconversion;-Wstrict-prototypes;-Wmissing-prototypes>)
target_compile_definitions(copper_flags INTERFACE _GNU_SOURCE COPPER_VERSION="${PROJECT_VERSION}")

# gcc-12 calls the sanitizer's own file names "thread", "address", ...; one flag serves all.
# Undefined behaviour is looked for beside wrong addresses: one run of the tests shows both.
set(COPPER_SANITIZE_FLAGS "")
if(COPPER_SANITIZE)
  set(COPPER_SANITIZE_FLAGS -fsanitize=${COPPER_SANITIZE} -fno-omit-frame-pointer)
  if(COPPER_SANITIZE STREQUAL "address")
    list(APPEND COPPER_SANITIZE_FLAGS -fsanitize=undefined)
  endif()
  if(NOT COPPER_SANITIZE STREQUAL "thread")
    list(APPEND COPPER_SANITIZE_FLAGS -fno-sanitize-recover=all)
  endif()
  add_compile_options(${COPPER_SANITIZE_FLAGS})
  add_link_options(${COPPER_SANITIZE_FLAGS})
endif()

# copper_library(NAME runtime
#   SOURCES ... [PUBLIC deps] [PRIVATE deps] [INCLUDE dir])
# makes libcopper_NAME.so (alias copper::NAME) with exports from <folder>/exports.map.
function(copper_library)
  cmake_parse_arguments(A "" "NAME;INCLUDE" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  set(target copper_${A_NAME})
  add_library(${target} SHARED ${A_SOURCES})
  add_library(copper::${A_NAME} ALIAS ${target})
  if(NOT A_INCLUDE)
    set(A_INCLUDE ${CMAKE_CURRENT_SOURCE_DIR}/include)
  endif()
  target_include_directories(${target}
    PUBLIC $<BUILD_INTERFACE:${A_INCLUDE}> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>
    PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  target_link_libraries(${target} PUBLIC ${A_PUBLIC} PRIVATE $<BUILD_INTERFACE:copper_flags> ${A_PRIVATE})
  set_target_properties(${target} PROPERTIES
    VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR} EXPORT_NAME ${A_NAME}
    LINK_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/exports.map)
  target_link_options(${target} PRIVATE
    -Wl,--version-script=${CMAKE_CURRENT_SOURCE_DIR}/exports.map -Wl,-z,now -Wl,-z,relro
    -Wl,-z,nodelete -Wl,--exclude-libs,ALL)
  if(NOT COPPER_SANITIZE)
    target_link_options(${target} PRIVATE -Wl,--no-undefined)
  endif()
  install(TARGETS ${target} EXPORT copper LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(DIRECTORY ${A_INCLUDE}/copper DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  set_property(GLOBAL APPEND PROPERTY COPPER_LIBRARIES ${A_NAME})
endfunction()
