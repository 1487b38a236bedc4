# SPDX-License-Identifier: BSD-3-Clause
# What smoke tests of programs expect of `status`, how the last one ended.
function(expect_status wanted)
  if(NOT status STREQUAL wanted)
    message(FATAL_ERROR "exit status ${status}, expected ${wanted}\n${out}\n${err}")
  endif()
endfunction()

function(expect_text text pattern)
  if(NOT text MATCHES "${pattern}")
    message(FATAL_ERROR "expected '${pattern}' in:\n${text}")
  endif()
endfunction()
