"""The packages of a wheel. All else is in pyproject.toml, which can either list every package or find them, but not add
to those that it finds.
"""

from setuptools import find_namespace_packages, setup

setup(
    packages=[
        *find_namespace_packages(include=["jaxred*"], exclude=["*__pycache__*"]),
        *("jaxred.launch", "jaxred.configs", "jaxred.configs.sweeps"),
    ],
    package_dir={"jaxred.launch": "launch", "jaxred.configs": "configs"},
)
