"""Official files from the network: huggingface_hub for its repositories, a resuming download for other addresses."""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any, cast

from kptalk.errors import WeightsError
from kptalk.weights.digest import sha256_of
from kptalk.weights.lock import accept, lock_path, read_lock
from kptalk.weights.registry import Entry, Hub, Url, own_copy, weights_folder

ATTEMPTS = 5  # of a plain download, as long as each brings nothing new
SILENCE = 30  # seconds without a byte after which a plain download counts as cut
PAUSE = 1.0  # seconds before the next attempt
BLOCK = 1 << 18  # bytes


def check_licences(entries: Sequence[Entry], accepted: bool) -> None:
    """See that every licence has been accepted, now or at an earlier pull.

    Args:
        entries: what is to be fetched.
        accepted: the user accepts now; that is recorded in the lock file.

    Raises:
        WeightsError: one was never accepted; the message holds them.
    """
    known = read_lock().licences
    new = list(dict.fromkeys(entry.licence for entry in entries if entry.licence not in known))
    if new and not accepted:
        raise WeightsError(f"read these licences and run the command again with --accept-licence: {'; '.join(new)}")
    if new:
        accept(new)


def fetch(entry: Entry) -> Path:
    """The original file of an entry, downloaded unless it is in the cache, and checked.

    Repository files lie in the cache of huggingface_hub (``HF_HOME``; ``HF_ENDPOINT`` and ``HF_HUB_OFFLINE`` count),
    others in the folder ``originals`` beside the converted weights. A cut connection is resumed.

    Raises:
        WeightsError: no connection, offline, no such file, or another size or SHA-256 than the table, the hub or the
            lock file says; the message says what to do.
    """
    path = _from_hub(entry, entry.source) if isinstance(entry.source, Hub) else _from_url(entry, entry.source)
    try:
        digest = check_original(entry, path)
    except WeightsError:
        _remove(path)  # a damaged file in a cache would come back for ever
        raise
    record = read_lock().files.get(entry.name)
    if record and record.source == str(entry.source) and record.sha256 != digest:
        raise WeightsError(
            f"{entry.source} changed since the first pull: it has sha256 {digest[:16]}.., the lock file says "
            f"{record.sha256[:16]}..: delete {lock_path()} to take what is there now"
        )
    return path


def check_original(entry: Entry, path: Path) -> str:
    """Hold a file against the table, and against the hub's own digest where it lies in the hub's cache.

    Returns:
        Its SHA-256 in hexadecimal.

    Raises:
        WeightsError: it has another size or another digest.
    """
    size = path.stat().st_size
    if entry.size is not None and size != entry.size:
        raise WeightsError(f"{path} has {size} bytes, {entry.name} has {entry.size}: {_get_again(entry)}")
    found = sha256_of(path)
    expected = {"table": entry.sha256}
    # There large files bear the digest that the hub announced, and the paths that it gives out are links to them.
    if path.is_symlink() and re.fullmatch("[0-9a-f]{64}", blob := path.readlink().name):
        expected["hub"] = blob
    for where, digest in expected.items():
        if digest is not None and not found.startswith(digest.lower()):
            raise WeightsError(
                f"{path} has sha256 {found[:16]}.., the {where} says {digest[:16]}.. for {entry.name}: "
                f"{_get_again(entry)}"
            )
    return found


def _remove(path: Path) -> None:
    """Delete a file, and on the way to it every link."""
    while path.is_symlink():
        link, path = path, path.parent / path.readlink()
        link.unlink()
    path.unlink()


def _get_again(entry: Entry) -> str:
    return f"get it again with `kptalk weights pull {entry.name}`"


def _from_hub(entry: Entry, source: Hub) -> Path:
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(hf_hub_download(source.repository, source.path, revision=source.revision))
    except LocalEntryNotFoundError as error:
        if constants.HF_HUB_OFFLINE:
            raise _offline(entry) from error
        raise _unreachable(entry, constants.ENDPOINT, error.__cause__ or error) from error
    except GatedRepoError as error:
        raise WeightsError(
            f"{source} is gated: accept its terms on its page and run `hf auth login`, {own_copy(entry)}"
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError) as error:
        raise _absent(entry) from error
    except Exception as error:  # of huggingface_hub's own transport, which changed with its versions
        raise _unreachable(entry, constants.ENDPOINT, error) from error


def _from_url(entry: Entry, source: Url) -> Path:
    from huggingface_hub import constants

    path = weights_folder() / "originals" / entry.original
    if path.is_file():
        return path
    if constants.HF_HUB_OFFLINE:
        raise _offline(entry)
    part = path.with_name(path.name + ".part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        attempts = ATTEMPTS
        while True:
            had = part.stat().st_size if part.exists() else 0
            try:
                _continue_download(source.address, part, had)
                part.replace(path)
                return path
            except urllib.error.HTTPError as error:
                error.close()
                if error.code in (404, 410):
                    raise _absent(entry) from error
                if error.code == 416:  # what is here is longer than what is there
                    part.unlink()
                reason: Exception = error
            except (OSError, HTTPException) as error:
                if isinstance(error, OSError) and error.filename:  # of the disk, not of the network
                    raise
                reason = error
            attempts = ATTEMPTS if part.exists() and part.stat().st_size > had else attempts - 1
            if not attempts:
                raise _unreachable(entry, source.address, reason)
            time.sleep(PAUSE)
    except OSError as error:
        raise WeightsError(f"cannot write {part}: {error.strerror}") from error


def _continue_download(address: str, part: Path, had: int) -> None:
    """Bring the rest of a file of which ``had`` bytes are in ``part``.

    Raises:
        OSError, HTTPException: the connection failed or was cut; what came is in ``part``.
    """
    from huggingface_hub.utils.tqdm import tqdm  # the bar that its own downloads show

    headers = {"User-Agent": "kptalk", "Accept-Encoding": "identity"} | ({"Range": f"bytes={had}-"} if had else {})
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=SILENCE) as response:
        if response.status != 206:  # the server sends the whole file, asked or not
            had = 0
        left = response.headers.get("Content-Length")
        total = had + int(left) if left else None
        name = part.name.removesuffix(".part")
        with (
            part.open("ab" if had else "wb") as file,
            cast(Any, tqdm)(desc=name, total=total, initial=had, unit="B", unit_scale=True, disable=None) as bar,
        ):
            while block := response.read(BLOCK):
                file.write(block)
                bar.update(len(block))
                had += len(block)
    if total is not None and had != total:
        raise ConnectionError(f"cut after {had} of {total} bytes")


def _offline(entry: Entry) -> WeightsError:
    return WeightsError(
        f"{entry.original} is not in the cache and HF_HUB_OFFLINE is set: unset it to download, {own_copy(entry)}"
    )


def _absent(entry: Entry) -> WeightsError:
    return WeightsError(f"{entry.source} does not exist (404): get the file elsewhere and use {own_copy(entry)[3:]}")


def _unreachable(entry: Entry, where: str, reason: BaseException) -> WeightsError:
    detail = " ".join(str(reason).split())[:160]
    return WeightsError(
        f"cannot download {entry.original} from {where} ({detail}): try again later, set HF_ENDPOINT to a mirror, "
        f"{own_copy(entry)}"
    )
