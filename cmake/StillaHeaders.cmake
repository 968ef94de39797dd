# SPDX-License-Identifier: Apache-2.0
#
# The one list of the library's headers. scripts/check_tree.py (a test) compares it with what lies in the folders.

# What users include, below include/.
set(STILLA_PUBLIC_HEADERS
  include/stilla/config.hpp
  include/stilla/error.hpp
  include/stilla/format/format.hpp
  include/stilla/format/q4_0.hpp
  include/stilla/types.hpp
  include/stilla/version.hpp)

# Machine code, below kernels/; reached through the public headers.
set(STILLA_KERNEL_HEADERS)
