# Compile the sources of each library of llama.cpp a dozen at a time, as upstream already does for its model files:
# they share most headers and template code, so this halves the compiler's work and changes nothing in the result.
# llama.cpp reads this file through CMAKE_PROJECT_llama.cpp_INCLUDE; no source of it is altered.
# Before CMake 3.19 nothing can be added to targets that do not exist yet: the build is slower there, and that is all.

if(CMAKE_VERSION VERSION_LESS 3.19)
    return()
endif()

function(tidegate_compile_together)
    file(GLOB core ${PROJECT_SOURCE_DIR}/src/*.cpp)
    list(REMOVE_ITEM core ${PROJECT_SOURCE_DIR}/src/llama-kv-cache-dsv4.cpp)
    set_source_files_properties(${core} TARGET_DIRECTORY llama PROPERTIES SKIP_UNITY_BUILD_INCLUSION OFF)
    set_target_properties(llama-common mtmd server-context llama-server-impl
        PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 12)
    # the one above repeats a name; these specialise templates that others instantiate, or check who included them
    set_source_files_properties(
        ${PROJECT_SOURCE_DIR}/common/json.cpp
        ${PROJECT_SOURCE_DIR}/common/jinja/value.cpp
        TARGET_DIRECTORY llama-common PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
    set_source_files_properties(
        ${PROJECT_SOURCE_DIR}/tools/mtmd/mtmd-helper.cpp
        ${PROJECT_SOURCE_DIR}/tools/mtmd/mtmd-helper-gen.cpp
        TARGET_DIRECTORY mtmd PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
endfunction()

cmake_language(DEFER CALL tidegate_compile_together)
