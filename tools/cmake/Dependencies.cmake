# SPDX-License-Identifier: Apache-2.0
#
# Finds the libraries and joins them in the target `moongate_libs`. script/bootstrap installs
# what is missing. llhttp is looked for as a system library, then as the sources of Debian's
# node-llhttp, installed or unpacked into .deps/llhttp, which are compiled here.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

set(wanted luajit libuv libcares yaml-0.1 libpcre2-8 libssl libcrypto hiredis zlib)
add_library(moongate_libs INTERFACE)
foreach(name ${wanted})
    string(MAKE_C_IDENTIFIER "${name}" id)
    pkg_check_modules(${id} REQUIRED IMPORTED_TARGET ${name})
    target_link_libraries(moongate_libs INTERFACE PkgConfig::${id})
endforeach()
target_link_libraries(moongate_libs INTERFACE Threads::Threads m ${CMAKE_DL_LIBS})

pkg_check_modules(libllhttp QUIET IMPORTED_TARGET libllhttp)
if(libllhttp_FOUND)
    target_link_libraries(moongate_libs INTERFACE PkgConfig::libllhttp)
    return()
endif()

foreach(root "" "${CMAKE_SOURCE_DIR}/.deps/llhttp")
    set(llhttp_sources "${root}/usr/share/llhttp")
    set(llhttp_include "${root}/usr/share/include/llhttp")
    if(EXISTS "${llhttp_sources}/llhttp.c" AND EXISTS "${llhttp_include}/llhttp.h")
        set(llhttp_found TRUE)
        break()
    endif()
endforeach()
if(NOT llhttp_found)
    message(FATAL_ERROR "llhttp is neither installed nor in .deps/llhttp: run script/bootstrap")
endif()
message(STATUS "llhttp: ${llhttp_sources}")

add_library(moongate_llhttp OBJECT
    "${llhttp_sources}/api.c" "${llhttp_sources}/http.c" "${llhttp_sources}/llhttp.c")
target_include_directories(moongate_llhttp SYSTEM PUBLIC "${llhttp_include}")
target_compile_definitions(moongate_llhttp PUBLIC LLHTTP_STRICT_MODE=1)
target_compile_options(moongate_llhttp PRIVATE -w)
# Machine-generated states: LTO gains nothing here and costs seconds at every link.
set_target_properties(moongate_llhttp PROPERTIES INTERPROCEDURAL_OPTIMIZATION OFF)
add_library(moongate_llhttp_archive STATIC $<TARGET_OBJECTS:moongate_llhttp>)
target_include_directories(moongate_llhttp_archive SYSTEM INTERFACE "${llhttp_include}")
target_compile_definitions(moongate_llhttp_archive INTERFACE LLHTTP_STRICT_MODE=1)
set_target_properties(moongate_llhttp_archive PROPERTIES INTERPROCEDURAL_OPTIMIZATION OFF)
target_link_libraries(moongate_libs INTERFACE moongate_llhttp_archive)
