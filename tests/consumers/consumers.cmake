# SPDX-License-Identifier: BSD-3-Clause
# For find_package/ and add_subdirectory/: a consumer for each standard and each variant of the library.
set(consumer_dir "${CMAKE_CURRENT_LIST_DIR}")

function(add_consumer name standard source library)
  add_executable(${name} "${consumer_dir}/${source}")
  target_compile_options(${name} PRIVATE -std=${standard} -pedantic -Wall -Wextra -Werror)
  target_link_libraries(${name} PRIVATE ${library} m)
endfunction()

foreach(variant IN ITEMS shared static)
  if(variant STREQUAL "shared")
    set(library attn::attn)
  else()
    set(library attn::static)
  endif()
  add_consumer(${variant}_c99 c99 consumer.c ${library})
  add_consumer(${variant}_c11 c11 consumer.c ${library})
  add_consumer(${variant}_cxx17 c++17 consumer.cpp ${library})
endforeach()
