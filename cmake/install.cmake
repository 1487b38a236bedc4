# SPDX-License-Identifier: BSD-3-Clause
# Included by the top CMakeLists.txt: what `cmake --install` puts where.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(attn_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/attn")

# Two sets: a program that links the shared attn::attn needs none of the libraries that attn::static asks for.
set(attn_exports attnStaticTargets)
install(TARGETS attn_static EXPORT attnStaticTargets)
if(attn_shared)
  list(APPEND attn_exports attnTargets)
  install(TARGETS attn EXPORT attnTargets)
endif()
install(DIRECTORY include/attn DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" FILES_MATCHING REGEX "[.]h(pp)?$")
foreach(set IN LISTS attn_exports)
  install(EXPORT ${set} NAMESPACE attn:: DESTINATION "${attn_package_dir}")
endforeach()

configure_package_config_file(cmake/attnConfig.cmake.in attnConfig.cmake INSTALL_DESTINATION "${attn_package_dir}"
                              NO_SET_AND_CHECK_MACRO)
# 0.x: a minor version may break what the one before it promised.
write_basic_package_version_file(attnConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/attnConfig.cmake" "${CMAKE_CURRENT_BINARY_DIR}/attnConfigVersion.cmake"
              cmake/attnDependencies.cmake DESTINATION "${attn_package_dir}")

# Relative to the .pc file, so that the installed tree may be moved.
file(RELATIVE_PATH attn_pc_prefix "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig" "${CMAKE_INSTALL_PREFIX}")
file(RELATIVE_PATH attn_pc_libdir "${CMAKE_INSTALL_PREFIX}" "${CMAKE_INSTALL_FULL_LIBDIR}")
file(RELATIVE_PATH attn_pc_includedir "${CMAKE_INSTALL_PREFIX}" "${CMAKE_INSTALL_FULL_INCLUDEDIR}")

# attn-static links libattn.a though libattn.so is beside it, which `pkg-config --static attn` does not.
set(attn_pc_needs "-ldl -lm -pthread")
if(ATTN_OPENBLAS)
  string(PREPEND attn_pc_needs "-lopenblas ")
endif()
if(attn_shared)
  set(attn_pc_libs "-lattn")
  set(attn_pc_private "${attn_pc_needs}")
else()
  set(attn_pc_libs "-lattn ${attn_pc_needs}")
  set(attn_pc_private "")
endif()
set(attn_pc_name attn)
configure_file(cmake/attn.pc.in attn.pc @ONLY)
set(attn_pc_name attn-static)
set(attn_pc_libs "-l:libattn.a ${attn_pc_needs}")
set(attn_pc_private "")
configure_file(cmake/attn.pc.in attn-static.pc @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/attn.pc" "${CMAKE_CURRENT_BINARY_DIR}/attn-static.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
