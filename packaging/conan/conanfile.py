# SPDX-License-Identifier: BSD-3-Clause
"""libattn for Conan 2, from the archive that conandata.yml names."""
from pathlib import Path

from conan import ConanFile
from conan.tools.cmake import CMake, CMakeDeps, CMakeToolchain, cmake_layout
from conan.tools.files import copy, get, rmdir


class Libattn(ConanFile):
    name = "libattn"
    version = "@VERSION@"
    description = "Attention on the CPU"
    license = "BSD-3-Clause"
    package_type = "library"
    settings = "os", "arch", "compiler", "build_type"
    options = {"shared": [True, False], "fPIC": [True, False], "openblas": [True, False]}
    default_options = {"shared": False, "fPIC": True, "openblas": True}
    languages = "C"
    implements = ["auto_shared_fpic"]

    def requirements(self):
        if self.options.openblas:
            self.requires("openblas/[>=0.3.20]")

    def layout(self):
        cmake_layout(self, src_folder="src")

    def source(self):
        get(self, **self.conan_data["sources"][self.version], strip_root=True)

    def generate(self):
        toolchain = CMakeToolchain(self)
        toolchain.cache_variables["ATTN_OPENBLAS"] = bool(self.options.openblas)
        toolchain.cache_variables["ATTN_BUILD_BENCH"] = False
        toolchain.generate()
        CMakeDeps(self).generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self):
        copy(self, "LICENSE", self.source_folder, Path(self.package_folder, "licenses"))
        CMake(self).install()
        lib = Path(self.package_folder, "lib")
        rmdir(self, lib / "cmake")
        rmdir(self, lib / "pkgconfig")
        if self.options.shared:
            (lib / "libattn.a").unlink()

    def package_info(self):
        self.cpp_info.libs = ["attn"]
        self.cpp_info.set_property("cmake_file_name", "attn")
        self.cpp_info.set_property("cmake_target_name", "attn::attn")
        self.cpp_info.set_property("pkg_config_name", "attn")
        if not self.options.shared:
            self.cpp_info.system_libs = ["dl", "m", "pthread"]
