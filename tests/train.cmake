# SPDX-License-Identifier: BSD-3-Clause
# A short run of examples/train learns, the same bits on one and two threads:
#   cmake -DTRAIN=PROGRAM -DTEXT=FILE -DDIR=FOLDER -P train.cmake
cmake_minimum_required(VERSION 3.22)
include("${CMAKE_CURRENT_LIST_DIR}/support/expect.cmake")

macro(train)
  execute_process(COMMAND ${TRAIN} ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE out ERROR_VARIABLE err TIMEOUT 140)
endmacro()

set(small --steps 60 --layers 2 --width 32 --heads 2 --tokens 32 --batch 8 --rate 1e-2 --letters 100)
foreach(threads IN ITEMS 1 2)
  train(${small} --threads ${threads} --svg "${DIR}/train.svg" --record "${DIR}/train-${threads}.record" "${TEXT}")
  expect_status(0)
  expect_text("${err}" "step 60, loss ([12]|3[.][0-6])[.0-9]*, ") # from 4.6, the logarithm of 100 bytes
  if(threads EQUAL 1)
    set(text "${out}")
  elseif(NOT out STREQUAL text)
    message(FATAL_ERROR "two threads write another text:\n${out}\n${text}")
  endif()
endforeach()
file(SHA256 "${DIR}/train-1.record" one)
file(SHA256 "${DIR}/train-2.record" two)
expect_text("${one}" "^${two}$")

file(READ "${DIR}/train.svg" svg)
expect_text("${svg}" "^<svg .*<polyline class=\"loss\" points=\"[-0-9., ]+\"/>\n</svg>\n$")
expect_xml("${DIR}/train.svg")

train("${TEXT}" --loud 1)
expect_status(2)
expect_text("${err}" "--loud: no such option")
train("${TEXT}" --tokens 100000)
expect_status(2)
expect_text("${err}" "which must be more than --tokens")
train("${TEXT}" --heads 3)
expect_status(1)
expect_text("${err}" "head")
