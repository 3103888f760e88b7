# SPDX-License-Identifier: Apache-2.0
#
# One cmocka executable for each spec/core/<layer>/<module>_test.c; the target `tests` makes all.
# spec/core/support/*.c, if there, is linked into each.
enable_testing()
pkg_check_modules(cmocka REQUIRED IMPORTED_TARGET cmocka)
file(GLOB test_sources CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/spec/core/*_test.c"
    "${CMAKE_SOURCE_DIR}/spec/core/*/*_test.c")
file(GLOB support_sources CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/spec/core/support/*.c")
add_custom_target(tests)

if(support_sources)
    add_library(moongate_test_support STATIC ${support_sources})
    target_include_directories(moongate_test_support PUBLIC "${CMAKE_SOURCE_DIR}/spec/core")
    target_link_libraries(moongate_test_support PUBLIC moongate_flags PkgConfig::cmocka)
    set_target_properties(moongate_test_support PROPERTIES INTERPROCEDURAL_OPTIMIZATION OFF)
endif()

# Code that runs Lua looks mg_ffi_* up at run time, so all of the core has to be there.
function(link_core target layer)
    if(layer MATCHES "^(script|flow|top)$" AND TARGET moongate_objects)
        target_link_libraries(${target} PRIVATE
            $<LINK_LIBRARY:WHOLE_ARCHIVE,moongate_core> moongate_libs)
        set_target_properties(${target} PROPERTIES ENABLE_EXPORTS ON)
    else()
        target_link_libraries(${target} PRIVATE moongate_core)
    endif()
endfunction()

# Clients and an upstream that send random exchanges through a gateway (spec/exchanges/main.c).
file(GLOB exchange_sources CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/spec/exchanges/*.c")
add_executable(exchanges ${exchange_sources})
target_link_libraries(exchanges PRIVATE moongate_flags moongate_core)
moongate_link_plain(exchanges)
add_dependencies(tests exchanges)

foreach(source ${test_sources})
    cmake_path(GET source STEM LAST_ONLY module)
    string(REGEX REPLACE "_test$" "" module "${module}")
    cmake_path(GET source PARENT_PATH folder)
    cmake_path(GET folder FILENAME layer)
    if(layer STREQUAL "core")
        set(layer top)  # the files right in core/
    endif()
    set(name "test_${layer}_${module}")
    add_executable(${name} "${source}")
    target_link_libraries(${name} PRIVATE moongate_flags)
    if(support_sources)
        target_link_libraries(${name} PRIVATE moongate_test_support)
    endif()
    link_core(${name} ${layer})
    target_link_libraries(${name} PRIVATE PkgConfig::cmocka)
    moongate_link_plain(${name})
    add_dependencies(tests ${name})
    add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY "${CMAKE_SOURCE_DIR}")
endforeach()
