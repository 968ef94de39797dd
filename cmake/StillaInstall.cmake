# SPDX-License-Identifier: Apache-2.0
#
# Installs the headers of both roots into one include/stilla, the sources of stilla::kernels, and a config package for
# find_package(stilla).
include(CMakePackageConfigHelpers)

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
# pkg-config files, for compilers that are called by hand and for Meson: one for the headers, and one for the C library if it is
# built.
file(RELATIVE_PATH pc_to_prefix "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
string(REGEX REPLACE "/$" "" pc_to_prefix "${pc_to_prefix}")
set(pc_definitions)
if(NOT STILLA_HIGHWAY)
  set(pc_definitions -DSTILLA_HIGHWAY=0)
endif()
set(stilla_onednn_library)
if(STILLA_ONEDNN)
  set(stilla_onednn_library " -ldnnl")
endif()
set(packages stilla)
if(STILLA_BUILD_C_API)
  list(APPEND packages stilla-c)
  install(TARGETS stilla_c stilla_c_shared EXPORT stillaCTargets)
  install(EXPORT stillaCTargets NAMESPACE stilla:: DESTINATION "${package_dir}")
endif()
foreach(package ${packages})
  configure_file(cmake/${package}.pc.in "${PROJECT_BINARY_DIR}/${package}.pc" @ONLY)
  install(FILES "${PROJECT_BINARY_DIR}/${package}.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
endforeach()

install(DIRECTORY kernels/compiled/ DESTINATION "${kernels_dir}")
install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DOCDIR}")

# `cmake --build build/release --target package` makes a Debian package of all that is installed here and of the program.
if(PROJECT_IS_TOP_LEVEL)
  set(CPACK_GENERATOR DEB)
  # Whoever publishes a package is its maintainer and says so: cmake -D CPACK_PACKAGE_CONTACT="Name <name@host>".
  set(CPACK_PACKAGE_CONTACT "The Stilla authors <stilla@localhost.localdomain>" CACHE STRING "The maintainer of a package")
  set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "transformer inference kernels for CPUs and NPUs")
  set(CPACK_DEBIAN_PACKAGE_DESCRIPTION "Stilla is a header-only C++20 library: products with weights of
 2 to 8 bits, attention, norms, RoPE and sampling, with the same bits on
 every CPU. The package has the headers, the C library, the sources of the
 kernels, and the program stilla, which runs GGUF models of the
 architectures Qwen2, Qwen3 and Llama.")
  set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
  set(CPACK_DEBIAN_PACKAGE_SECTION libdevel)
  set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
  set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
  file(WRITE "${PROJECT_BINARY_DIR}/triggers" "activate-noawait ldconfig\n")  # Debian demands this of a package with shared libraries
  set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA "${PROJECT_BINARY_DIR}/triggers")
  set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
  set(CPACK_STRIP_FILES ON)
  # The headers include Highway for the portable kernels, and nlohmann's JSON for folders of Hugging Face.
  set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "libhwy-dev, nlohmann-json3-dev")
  set(CPACK_PRE_BUILD_SCRIPTS "${PROJECT_SOURCE_DIR}/cmake/DebianFiles.cmake")
  include(CPack)
endif()
