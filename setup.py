"""Packaging: the folders pipeline, transforms and schemas become packages of the namespace hoptrace."""

from pathlib import Path
from runpy import run_path

from setuptools import setup

HERE = Path(__file__).resolve().parent
FOLDERS = ("pipeline", "transforms", "schemas")


def packages() -> dict[str, str]:
    """Package -> its folder, for every folder below FOLDERS that is a package."""
    inits = (init.parent.relative_to(HERE) for folder in FOLDERS for init in (HERE / folder).rglob("__init__.py"))
    return {f"hoptrace.{'.'.join(folder.parts)}": str(folder) for folder in sorted(inits)}


setup(
    name="hoptrace",
    version=run_path(str(HERE / "pipeline" / "version.py"))["VERSION"],
    description="Follows every mail through a fleet of mail servers by their logs",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    packages=list(packages()),
    package_dir=packages(),
    package_data={package: ["*.toml", "**/*.toml", "**/*.gz", "py.typed"] for package in packages()},
    entry_points={"console_scripts": ["hoptrace = hoptrace.pipeline.cli:main"]},
    install_requires=[
        "apache-beam>=2.77,<2.78",
        "cryptography>=45,<51",
        "deltalake>=1.6.6,<1.7",
        "google-auth-httplib2>=0.3,<0.5",
        "google-cloud-storage>=3.4,<4",
        "isal>=1.7,<2",
        "llvmlite>=0.45,<0.53",
        "numba>=0.62,<0.70",
        "numpy>=2.1,<2.5",
        "pandas>=2.3,<4",
        "polars>=2.0,<2.2",
        "pyarrow>=22,<26",
        "regex>=2025.9",
        "rich>=14,<16",
        "tomli>=2.2,<3; python_version < '3.11'",
        "tzdata>=2025.2",
        "zstandard>=0.25,<0.26",
    ],
    extras_require={
        "test": [
            "gcp-storage-emulator>=2026.7",
            "hypothesis>=6.140,<7",
            "mypy>=2.3,<3",
            "pandas-stubs>=2.3",
            "pytest>=9,<10",
            "pytest-xdist>=3.8,<4",
            "ruff>=0.17,<0.18",
            "types-regex>=2025.9",
        ],
    },
)
