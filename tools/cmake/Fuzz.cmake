# SPDX-License-Identifier: Apache-2.0
#
# Each tools/fuzz/<target>.c defines LLVMFuzzerTestOneInput. The fuzz preset links it with
# libFuzzer (fuzz_<target>); every other preset links replay_main.c, which feeds it the kept
# inputs of tools/fuzz/corpus/<target>/ (replay_<target>), so that old crashes stay fixed.
file(GLOB fuzz_sources CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/tools/fuzz/*.c")
set(replay_main "${CMAKE_SOURCE_DIR}/tools/fuzz/replay_main.c")
list(REMOVE_ITEM fuzz_sources "${replay_main}")
add_custom_target(fuzzers)

foreach(source ${fuzz_sources})
    cmake_path(GET source STEM LAST_ONLY target)
    string(REGEX REPLACE "^fuzz_" "" target "${target}")
    if(MOONGATE_FUZZ)
        set(name "fuzz_${target}")
        add_executable(${name} "${source}")
        target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    else()
        set(name "replay_${target}")
        add_executable(${name} "${source}" "${replay_main}")
        moongate_link_plain(${name})
    endif()
    target_link_libraries(${name} PRIVATE moongate_flags moongate_core)
    add_dependencies(fuzzers ${name})
endforeach()
