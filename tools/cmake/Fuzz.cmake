# SPDX-License-Identifier: Apache-2.0
#
# Each tools/fuzz/fuzz_<target>.c defines LLVMFuzzerTestOneInput. The fuzz preset links it with
# libFuzzer (fuzz_<target>); every other preset links replay_main.c, which feeds it the kept
# inputs of tools/fuzz/corpus/<target>/ (replay_<target>), so that old crashes stay fixed.
# tools/fuzz/support/*.c is linked into each.
file(GLOB fuzz_sources CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/tools/fuzz/fuzz_*.c")
file(GLOB fuzz_support CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/tools/fuzz/support/*.c")
add_custom_target(fuzzers)

add_library(moongate_fuzz_support STATIC ${fuzz_support})
target_include_directories(moongate_fuzz_support PUBLIC "${CMAKE_SOURCE_DIR}/tools/fuzz")
target_link_libraries(moongate_fuzz_support PUBLIC moongate_flags)
set_target_properties(moongate_fuzz_support PROPERTIES INTERPROCEDURAL_OPTIMIZATION OFF)

# Lua looks mg_ffi_* up at run time, so all of the core has to be there.
set(with_lua config)

foreach(source ${fuzz_sources})
    cmake_path(GET source STEM LAST_ONLY target)
    string(REGEX REPLACE "^fuzz_" "" target "${target}")
    if(MOONGATE_FUZZ)
        set(name "fuzz_${target}")
        add_executable(${name} "${source}")
        target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    else()
        set(name "replay_${target}")
        add_executable(${name} "${source}" "${CMAKE_SOURCE_DIR}/tools/fuzz/replay_main.c")
        moongate_link_plain(${name})
    endif()
    target_link_libraries(${name} PRIVATE moongate_flags moongate_fuzz_support)
    if(target IN_LIST with_lua)
        target_link_libraries(${name} PRIVATE
            $<LINK_LIBRARY:WHOLE_ARCHIVE,moongate_core> moongate_libs)
        set_target_properties(${name} PROPERTIES ENABLE_EXPORTS ON)
    else()
        target_link_libraries(${name} PRIVATE moongate_core)
    endif()
    add_dependencies(fuzzers ${name})
endforeach()
