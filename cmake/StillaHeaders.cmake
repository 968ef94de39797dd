# SPDX-License-Identifier: Apache-2.0
#
# The library's headers: what lies below include/ and kernels/. A header that is added is found when the build is
# configured again, which CONFIGURE_DEPENDS does by itself.

# What users include.
file(GLOB_RECURSE STILLA_PUBLIC_HEADERS CONFIGURE_DEPENDS RELATIVE "${PROJECT_SOURCE_DIR}"
  "${PROJECT_SOURCE_DIR}/include/*.hpp" "${PROJECT_SOURCE_DIR}/include/*.h")

# Machine code, reached through the public headers.
file(GLOB_RECURSE STILLA_KERNEL_HEADERS CONFIGURE_DEPENDS RELATIVE "${PROJECT_SOURCE_DIR}"
  "${PROJECT_SOURCE_DIR}/kernels/*.hpp")
