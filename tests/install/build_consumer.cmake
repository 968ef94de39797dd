# SPDX-License-Identifier: Apache-2.0
#
# Configures, builds and runs consumer/ in the empty folder `work`, with Stilla found as `way` says.
function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ECHO STDOUT COMMAND_ERROR_IS_FATAL ANY)
endfunction()

file(REMOVE_RECURSE "${work}")
if(way STREQUAL "package")
  run(${CMAKE_COMMAND} --install ${build} --prefix ${work}/prefix)
  set(found -D CMAKE_PREFIX_PATH=${work}/prefix)
else()
  set(found -D STILLA_SOURCE=${source})
endif()
run(${CMAKE_COMMAND} -S ${CMAKE_CURRENT_LIST_DIR}/consumer -B ${work}/build -G ${generator}
  -D CMAKE_CXX_COMPILER=${compiler} -D CMAKE_CXX_FLAGS=${flags} ${found})
run(${CMAKE_COMMAND} --build ${work}/build)
run(${work}/build/consumer)
run(${work}/build/multiplier)
