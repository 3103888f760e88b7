# SPDX-License-Identifier: Apache-2.0
#
# How our own C code is compiled: target `moongate_flags`, which carries language, warnings,
# hardening and sanitizers. Code that is not ours (llhttp) does not use it.
include(CheckCCompilerFlag)
include(CheckIPOSupported)
include(CheckPIESupported)

find_program(ccache_program ccache)
if(ccache_program AND NOT CMAKE_C_COMPILER_LAUNCHER)
    set(CMAKE_C_COMPILER_LAUNCHER "${ccache_program}")
endif()

if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_C_VISIBILITY_PRESET hidden)  # only functions marked MG_FFI_EXPORT leave the binary
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_C_FLAGS_RELEASE "-O2 -g")
set(CMAKE_C_FLAGS_DEBUG "-O0 -g3")
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}")

check_pie_supported(LANGUAGES C)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

if(CMAKE_INTERPROCEDURAL_OPTIMIZATION)
    check_ipo_supported(RESULT lto_works OUTPUT lto_output LANGUAGES C)
    if(NOT lto_works)
        message(STATUS "link-time optimisation is off: ${lto_output}")
        set(CMAKE_INTERPROCEDURAL_OPTIMIZATION OFF)
    endif()
endif()

add_library(moongate_flags INTERFACE)
target_include_directories(moongate_flags INTERFACE "${CMAKE_SOURCE_DIR}/core")
target_compile_options(moongate_flags INTERFACE -Wall -Wextra -Wshadow -Wconversion -Werror)
target_compile_definitions(moongate_flags INTERFACE
    MOONGATE_SOURCE_DIR="${CMAKE_SOURCE_DIR}" MOONGATE_VERSION="${PROJECT_VERSION}")

# The fortified libc functions need optimisation, and sanitizers have their own.
if(CMAKE_BUILD_TYPE STREQUAL "Release" AND NOT MOONGATE_SANITIZE AND NOT MOONGATE_FUZZ)
    target_compile_options(moongate_flags INTERFACE
        -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -fstack-protector-strong)
    foreach(flag -fstack-clash-protection -fcf-protection)  # not on every architecture
        string(MAKE_C_IDENTIFIER "has${flag}" known)
        check_c_compiler_flag(${flag} ${known})
        if(${known})
            target_compile_options(moongate_flags INTERFACE ${flag})
        endif()
    endforeach()
endif()
target_link_options(moongate_flags INTERFACE -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack)

# Applied to the whole build, llhttp too, so that a bad read inside it shows.
if(MOONGATE_FUZZ)
    if(NOT CMAKE_C_COMPILER_ID STREQUAL "Clang")
        message(FATAL_ERROR "the fuzz targets need clang: -DCMAKE_C_COMPILER=clang")
    endif()
    set(MOONGATE_SANITIZE ON)
    add_compile_options(-fsanitize=fuzzer-no-link)
endif()
if(MOONGATE_SANITIZE)
    set(sanitize -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
    add_compile_options(${sanitize})
    add_link_options(${sanitize})
    if(CMAKE_BUILD_TYPE STREQUAL "Debug")
        add_compile_options(-O1)  # -O0 makes the sanitized suite twice as slow
    endif()
endif()

if(MOONGATE_COVERAGE)
    add_compile_options(-fprofile-instr-generate -fcoverage-mapping)
    add_link_options(-fprofile-instr-generate)
endif()

# The objects serve the binary, which is optimised at link time, and dozens of tests, for which
# that would take minutes. gcc can put both forms into one object; clang cannot.
function(moongate_keep_plain_objects target)
    if(CMAKE_INTERPROCEDURAL_OPTIMIZATION AND CMAKE_C_COMPILER_ID STREQUAL "GNU")
        target_compile_options(${target} PRIVATE -ffat-lto-objects)
    endif()
endfunction()

function(moongate_link_plain target)
    if(CMAKE_INTERPROCEDURAL_OPTIMIZATION AND CMAKE_C_COMPILER_ID STREQUAL "GNU")
        set_target_properties(${target} PROPERTIES INTERPROCEDURAL_OPTIMIZATION OFF)
        target_link_options(${target} PRIVATE -fno-lto)
    endif()
endfunction()
