"""Packaging of zmtwist. The plugin in twisted/plugins must be found from a wheel and from `pip install -e .` alike.

Twisted scans the entries of sys.path for `twisted/plugins`; setuptools' default editable install adds no entry, but an
explicit `package_dir={"": "."}` makes it add this folder. There is no __init__.py in either plugin folder.
"""

from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version: dict[str, str] = {}
exec((here / "zmtwist" / "_version.py").read_text(), version)

VIDEO = ["av>=18"]  # the first that finds codec parameters in the stream, as live view needs it
CONCH = ["twisted[conch]>=24.11"]
MQTT = ["paho-mqtt>=2.1"]
TEST = [
    "pytest>=8",
    "pytest-twisted>=1.14.3",
    "pytest-xdist>=3.8",
    "pytest-rerunfailures>=14",
    "hypothesis>=6.100",
    "ruff>=0.6",
    "mypy>=1.11",
    "mypy-zope>=1.0.8",
    "types-PyMySQL",
    "PyYAML>=6",
]

setup(
    name="zmtwist",
    version=version["__version__"],
    description="The Twisted control plane for zm-next workers in ZoneMinder",
    long_description=(here / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="GPL-2.0-or-later",
    python_requires=">=3.11",
    package_dir={"": "."},
    packages=[*find_packages(include=["zmtwist", "zmtwist.*"]), "twisted.plugins"],
    package_data={"zmtwist": ["py.typed", "zm/db/*.sql", "ops/page/*"]},
    install_requires=[
        "twisted[tls]>=24.11",
        "attrs>=23.2",
        "cattrs>=23.2",
        "msgspec>=0.18",
        "zope.interface>=6",
        "automat>=24.8.1",
        "PyMySQL>=1.1",
        "klein>=24.8",
        "prometheus-client>=0.20",
    ],
    extras_require={"sim": VIDEO, "video": VIDEO, "conch": CONCH, "mqtt": MQTT, "test": [*TEST, *VIDEO, *CONCH, *MQTT]},
    entry_points={
        "console_scripts": [
            "zmnextctl = zmtwist.ops.cli.main:main",
            "zm-core-sim = zmtwist.sim.main:main",
        ]
    },
)
