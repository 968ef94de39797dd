# SPDX-License-Identifier: Apache-2.0
#
# An overlay port of vcpkg, which installs the checkout that it lies in:   vcpkg install stilla --overlay-ports=cmake/vcpkg
get_filename_component(source "${CMAKE_CURRENT_LIST_DIR}/../.." ABSOLUTE)
set(VCPKG_BUILD_TYPE release)  # the headers are the same in a debug build

vcpkg_cmake_configure(
  SOURCE_PATH "${source}"
  OPTIONS -D STILLA_BUILD_TESTS=OFF -D STILLA_BUILD_EXAMPLES=OFF -D STILLA_BUILD_BENCH=OFF -D STILLA_BUILD_C_API=OFF)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(CONFIG_PATH share/cmake/stilla)
file(RENAME "${CURRENT_PACKAGES_DIR}/lib/pkgconfig" "${CURRENT_PACKAGES_DIR}/share/pkgconfig")
file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/lib")  # nothing is compiled
vcpkg_fixup_pkgconfig()
vcpkg_install_copyright(FILE_LIST "${source}/LICENSE")
