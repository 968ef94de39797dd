# SPDX-License-Identifier: Apache-2.0
#
# The library's headers: all headers below include/ and kernels/. A header that is added is found when the build is configured
# again; CONFIGURE_DEPENDS makes that happen by itself.

# The headers that users include.
file(GLOB_RECURSE STILLA_PUBLIC_HEADERS CONFIGURE_DEPENDS RELATIVE "${PROJECT_SOURCE_DIR}"
  "${PROJECT_SOURCE_DIR}/include/*.hpp" "${PROJECT_SOURCE_DIR}/include/*.h")

# The kernels, which the public headers include.
file(GLOB_RECURSE STILLA_KERNEL_HEADERS CONFIGURE_DEPENDS RELATIVE "${PROJECT_SOURCE_DIR}"
  "${PROJECT_SOURCE_DIR}/kernels/*.hpp")
