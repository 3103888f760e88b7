# SPDX-License-Identifier: Apache-2.0
#
# Each bench/<name>.c is an executable bench_<name>; the target `bench` makes them all. They are
# linked as the binary is, link-time optimisation included, so their numbers mean something.
file(GLOB bench_sources CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/bench/*.c")
add_custom_target(bench)

foreach(source ${bench_sources})
    cmake_path(GET source STEM LAST_ONLY name)
    string(REGEX REPLACE "^bench_" "" name "${name}")
    add_executable(bench_${name} EXCLUDE_FROM_ALL "${source}")
    target_link_libraries(bench_${name} PRIVATE moongate_flags)
    if(TARGET moongate_objects)
        target_link_libraries(bench_${name} PRIVATE
            $<LINK_LIBRARY:WHOLE_ARCHIVE,moongate_core> moongate_libs)
    endif()
    if(TARGET PkgConfig::cmocka)  # some stand on a fixture of the tests
        target_include_directories(bench_${name} PRIVATE "${CMAKE_SOURCE_DIR}/spec/core")
        target_link_libraries(bench_${name} PRIVATE PkgConfig::cmocka)
    endif()
    set_target_properties(bench_${name} PROPERTIES ENABLE_EXPORTS ON)
    add_dependencies(bench bench_${name})
endforeach()

# bench/programs/<name>.c are what the comparison with other gateways runs beside them: they stand on
# libuv at most, and are made with everything else, since a spec runs them too.
file(GLOB bench_programs CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/bench/programs/*.c")
foreach(source ${bench_programs})
    cmake_path(GET source STEM LAST_ONLY name)
    add_executable(bench_${name} "${source}")
    target_link_libraries(bench_${name} PRIVATE moongate_flags PkgConfig::libuv)
    add_dependencies(bench bench_${name})
endforeach()
