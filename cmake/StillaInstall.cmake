# SPDX-License-Identifier: Apache-2.0
#
# Headers of both roots into one include/stilla, the sources of stilla::kernels, and a config package for
# find_package(stilla).
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(package_dir "${CMAKE_INSTALL_DATADIR}/cmake/stilla")
set(kernels_dir "${CMAKE_INSTALL_DATADIR}/stilla/kernels")
configure_package_config_file(cmake/stillaConfig.cmake.in "${PROJECT_BINARY_DIR}/stillaConfig.cmake"
  INSTALL_DESTINATION "${package_dir}"
  PATH_VARS kernels_dir
  NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file("${PROJECT_BINARY_DIR}/stillaConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion  # 0.x: a minor version may change the interface
  ARCH_INDEPENDENT)

install(TARGETS stilla EXPORT stillaTargets FILE_SET HEADERS)
install(EXPORT stillaTargets NAMESPACE stilla:: DESTINATION "${package_dir}")
install(FILES
  "${PROJECT_BINARY_DIR}/stillaConfig.cmake"
  "${PROJECT_BINARY_DIR}/stillaConfigVersion.cmake"
  cmake/FindHighwayHeaders.cmake
  cmake/StillaKernels.cmake
  DESTINATION "${package_dir}")
install(DIRECTORY kernels/compiled/ DESTINATION "${kernels_dir}")
install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DOCDIR}")
