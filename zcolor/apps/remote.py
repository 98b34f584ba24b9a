"""Results that go to a store that is not this computer's disk: any URL that fsspec knows.

A plan of work speaks of paths. A remote folder lends it paths that stand for URLs, below a folder
that no disk has, and turns them back into URLs where a result is looked for or written.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from zcolor.extras import install_command
from zcolor.files import UInt, encode_image
from zcolor.formats import SUFFIXES, format_for, format_or_none
from zcolor.metadata import Metadata

# A folder that no disk has: the paths below it stand for URLs.
_STAND_IN = Path("/zcolor-remote-folder")
# Stores in which an object is there whole or not at all, and in which renaming is copying.
_WHOLE_OBJECTS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "memory"})


def is_url(text: str) -> bool:
    """Tell a URL from a path.

    Examples
    --------
    >>> is_url("s3://bucket/album"), is_url("album/1950")
    (True, False)
    """
    return re.match(r"\w[\w+.:-]*://", text) is not None


def local_path(text: str) -> Path | None:
    """Give the path on this computer that a path or a `file://` URL means; None for other URLs.

    Examples
    --------
    >>> local_path("file:///data/new%20album").as_posix(), local_path("s3://bucket/album")
    ('/data/new album', None)
    """
    if not is_url(text):
        return Path(text)
    parts = urlsplit(text)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    return None


@dataclass(frozen=True)
class RemoteFolder:
    """A URL that results go to: a folder, or a single file.

    Parameters
    ----------
    url
        Such as `s3://bucket/album` or `gs://bucket/album`.
    """

    url: str

    def check(self) -> None:
        """Refuse a URL that nothing can be written to, before the work.

        Raises
        ------
        ValueError
            For an unknown protocol, and for a URL that means no place or one in several ways: some
            stores resolve `..` and `//`, others take them as they are.
        ImportError
            If the package of the protocol is not installed.
        OSError
            If the store cannot be reached.
        """
        if not {"", ".", ".."}.isdisjoint(self._parts[1].split("/")):
            raise ValueError(
                f"{self.url} has an empty part, or . or .., between its slashes; write it out as "
                "in s3://bucket/album"
            )
        _ = self._store

    @property
    def path(self) -> Path:
        """The path that stands for the URL."""
        return _STAND_IN / self._parts[1]

    @property
    def is_folder(self) -> bool:
        """Whether the URL itself says so: by a slash at its end, or as no picture is called so.

        Examples
        --------
        >>> [RemoteFolder(url).is_folder for url in ("s3://my.bucket", "s3://b/album.2024")]
        [True, True]
        >>> RemoteFolder("s3://b/a.png").is_folder, RemoteFolder("s3://b/a.png/").is_folder
        (False, True)
        """
        head, name = self._parts
        is_bucket = "/" not in name and not head.endswith(":///")
        named = format_or_none(name) is not None or PurePosixPath(name).suffix.lower() in SUFFIXES
        return self.url.endswith("/") or is_bucket or not named

    def url_of(self, path: Path) -> str:
        """Give the URL that a path at or below `path` stands for.

        Examples
        --------
        >>> album = RemoteFolder("s3://bucket/album/")
        >>> album.url_of(album.path / "1950" / "a.jpg")
        's3://bucket/album/1950/a.jpg'
        """
        return self._parts[0] + PurePosixPath(path.relative_to(_STAND_IN)).as_posix()

    def standing(self, paths: Iterable[Path]) -> frozenset[Path]:
        """Give those of the paths whose URLs exist, by listing the store once."""
        fs, root = self._store
        try:
            fs.invalidate_cache()
            found = set(fs.find(root))
        except FileNotFoundError:
            return frozenset()
        except Exception as error:  # every store has errors of its own
            raise self._unreachable(error) from error
        return frozenset(path for path in paths if self._place_of(path) in found)

    def write(self, path: Path, pixels: UInt, *, metadata: Metadata, quality: int) -> None:
        """Write a picture to the URL that a path stands for, whole or not at all.

        Parameters
        ----------
        path
            The path; its ending names the format.
        pixels, metadata, quality
            As for `zcolor.files.write_image`.

        Raises
        ------
        ValueError
            For what the format cannot hold.
        OSError
            If the store refuses it.
        """
        data = encode_image(pixels, format_for(path), metadata, quality=quality)
        url = self.url_of(path)
        fs, place = self._store[0], self._place_of(path)
        folder = place.rpartition("/")[0]
        temporary = f"{folder}/.zcolor-{secrets.token_hex(8)}.part"
        protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
        try:
            if protocols & _WHOLE_OBJECTS:
                fs.pipe_file(place, data)
                return
            fs.makedirs(folder, exist_ok=True)
            try:
                fs.pipe_file(temporary, data)
                fs.mv(temporary, place)
            except BaseException:
                with suppress(Exception):  # it may never have come to be
                    fs.rm_file(temporary)
                raise
        except Exception as error:  # every store has errors of its own
            raise OSError(f"{url} cannot be written ({type(error).__name__}: {error})") from error

    @property
    def _parts(self) -> tuple[str, str]:
        """The URL's protocol, with a slash if its paths begin with one, and the rest."""
        head, slash, tail = re.fullmatch(r"(.*://)(/?)(.*)", self.url, re.DOTALL).groups()  # type: ignore[union-attr]
        return head + slash, tail.removesuffix("/")

    @cached_property
    def _store(self) -> tuple[Any, str]:
        """The file system of the URL, which fsspec keeps open, and the path in it."""
        try:
            import fsspec
        except ImportError as error:
            raise ImportError(f"URLs need fsspec: {install_command('cluster')}") from error
        try:
            fs, root = fsspec.core.url_to_fs("".join(self._parts))
        except (ValueError, ImportError):  # they say what is wrong
            raise
        except Exception as error:  # every store has errors of its own
            raise self._unreachable(error) from error
        return fs, str(root)

    def _place_of(self, path: Path) -> str:
        """Give the name of a result in the store; parsed as a URL, some names would be cut."""
        below = path.relative_to(self.path).parts
        return "/".join([self._store[1].rstrip("/"), *below])

    def _unreachable(self, error: Exception) -> OSError:
        return OSError(
            f"{self.url} cannot be reached ({type(error).__name__}: {error}); check the address "
            "and the credentials"
        )
