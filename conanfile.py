# SPDX-License-Identifier: Apache-2.0
#
# The headers as a Conan 2 package:   conan create . -o "&:highway=False"     (tests/install/conan_consumer uses it)
import os
import re

from conan import ConanFile
from conan.tools.files import copy, load


class Stilla(ConanFile):
    name = "stilla"
    description = "Transformer inference kernels for CPUs, header-only"
    license = "Apache-2.0"
    topics = ("llm", "inference", "simd", "quantization", "header-only")
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"
    options = {"highway": [True, False]}  # without Highway, what no x86 or Arm kernel covers runs `scalar`
    default_options = {"highway": True}
    exports_sources = "include/*", "kernels/*", "LICENSE"
    no_copy_source = True
    test_package_folder = "tests/install/conan_consumer"

    def set_version(self):
        header = load(self, os.path.join(self.recipe_folder, "include/stilla/base/version.hpp"))
        self.version = ".".join(re.findall(r"#define STILLA_VERSION_\w+ (\d+)", header))

    def requirements(self):
        if self.options.highway:
            self.requires("highway/[>=1.0.3 <2]", transitive_headers=True)

    def package_id(self):
        self.info.settings.clear()

    def package(self):
        for root in ("include", "kernels"):
            copy(self, "stilla/*", os.path.join(self.source_folder, root), os.path.join(self.package_folder, "include"))
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))

    def package_info(self):
        self.cpp_info.bindirs = []
        self.cpp_info.libdirs = []
        if not self.options.highway:
            self.cpp_info.defines = ["STILLA_HIGHWAY=0"]
