# SPDX-License-Identifier: BSD-3-Clause
# What smoke tests of programs expect of `status`, how the last one ended, and of what it wrote.
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

# xmllint is not to be had everywhere, so not asked for.
function(expect_xml path)
  find_program(xmllint xmllint)
  if(xmllint)
    execute_process(COMMAND "${xmllint}" --noout "${path}" RESULT_VARIABLE status OUTPUT_VARIABLE out
                                                                                ERROR_VARIABLE err)
    expect_status(0)
  endif()
endfunction()
