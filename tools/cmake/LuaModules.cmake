# SPDX-License-Identifier: Apache-2.0
#
# C parts of the script layer that know nothing of a gateway, once more as modules for a plain
# luajit: the specs in spec/lua/ and the tools run there. tools/busted.lua finds them.
#
#   core/script/yaml*.c  -> <build>/lua/moongate/yaml.so    require 'moongate.yaml'
#   core/script/json*.c  -> <build>/lua/cjson.so            require 'cjson', require 'cjson.safe'
#
# No Lua library is linked: the process that loads the module has one. <build>/lua/preload names
# the sanitizer's runtime, which must be in a process before any module that was built with it.
file(GLOB yaml_sources CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/core/script/yaml*.c")
file(GLOB json_sources CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/core/script/json*.c")

function(moongate_lua_module target folder name)
    add_library(${target} MODULE ${ARGN})
    target_compile_definitions(${target} PRIVATE MG_LUA_MODULE)
    target_include_directories(${target} SYSTEM PRIVATE ${luajit_INCLUDE_DIRS})
    target_link_libraries(${target} PRIVATE moongate_flags m)
    set_target_properties(${target} PROPERTIES PREFIX "" SUFFIX ".so" OUTPUT_NAME "${name}"
        LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lua${folder}"
        INTERPROCEDURAL_OPTIMIZATION OFF)
    moongate_link_plain(${target})
    add_dependencies(tests ${target})
endfunction()

moongate_lua_module(yaml_module /moongate yaml ${yaml_sources})
target_link_libraries(yaml_module PRIVATE PkgConfig::yaml_0_1)
moongate_lua_module(json_module "" cjson ${json_sources})

set(preload "")
if(MOONGATE_SANITIZE AND CMAKE_C_COMPILER_ID STREQUAL "GNU")
    execute_process(COMMAND ${CMAKE_C_COMPILER} -print-file-name=libasan.so
        OUTPUT_VARIABLE preload OUTPUT_STRIP_TRAILING_WHITESPACE)
elseif(MOONGATE_SANITIZE)
    # clang links its runtime into executables only.
    foreach(target yaml_module json_module)
        target_compile_options(${target} PRIVATE -fno-sanitize=all)
        target_link_options(${target} PRIVATE -fno-sanitize=all)
    endforeach()
endif()
file(WRITE "${CMAKE_BINARY_DIR}/lua/preload" "${preload}\n")
