"""Downloads the official files by huggingface_hub, from repositories and plain addresses, and checks them."""

import re
from pathlib import Path

from kptalk.errors import WeightsError
from kptalk.files import explain, sha256
from kptalk.weights.lock import lock_path, read_lock
from kptalk.weights.registry import PINS, Entry, Hub, Url, make_weights_folder, own_copy


def fetch(entry: Entry) -> Path:
    """The original file of an entry, checked; downloaded unless it is in the cache.

    Files of repositories are in the cache of huggingface_hub (``HF_HOME``; ``HF_ENDPOINT`` and ``HF_HUB_OFFLINE``
    count), others in the folder ``originals`` beside the converted weights. An interrupted download is resumed.

    Raises:
        WeightsError: no connection, offline, no such file, or another size or SHA-256 than expected; the message says
            what to do.
    """
    path = _from_hub(entry, entry.source) if isinstance(entry.source, Hub) else _from_url(entry, entry.source)
    try:
        digest = check_original(entry, path)
    except WeightsError:
        blob = path.resolve()  # in the hub's cache the path is a link
        path.unlink()  # a damaged file in a cache would come back for ever
        blob.unlink(missing_ok=True)
        raise
    record = read_lock().files.get(entry.name)
    if record and record.source == str(entry.source) and record.sha256 != digest:
        raise WeightsError(
            f"{entry.source} changed since the first pull: it has sha256 {digest[:16]}.., the lock file says "
            f"{record.sha256[:16]}..: delete {lock_path()} to accept the new file"
        )
    return path


def check_original(entry: Entry, path: Path) -> str:
    """Compare a file with its pinned size and digest, and with the hub's own digest if it is in the hub's cache.

    Returns:
        Its SHA-256 in hexadecimal.

    Raises:
        WeightsError: it has another size or another digest.
    """
    size, pinned = PINS.get(entry.original, (None, None))
    again = f"get it again with `kptalk weights pull {entry.name}`"
    if size is not None and path.stat().st_size != size:
        raise WeightsError(f"{path} has {path.stat().st_size} bytes instead of the {size} of {entry.name}: {again}")
    found = sha256(path)
    expected = {"expected": pinned}
    # There, large files are named by the digest that the hub announced, and the paths that it returns link to them.
    if path.is_symlink() and re.fullmatch("[0-9a-f]{64}", blob := path.readlink().name):
        expected["announced by the hub"] = blob
    for kind, digest in expected.items():
        if digest is not None and not found.startswith(digest):
            raise WeightsError(
                f"{path} has sha256 {found[:16]}.. instead of the {digest[:16]}.. {kind} for {entry.name}: {again}"
            )
    return found


def _from_hub(entry: Entry, source: Hub) -> Path:
    from huggingface_hub import constants, errors, hf_hub_download

    try:
        return Path(hf_hub_download(source.repository, source.path, revision=source.revision))
    except errors.LocalEntryNotFoundError as error:
        if constants.HF_HUB_OFFLINE:
            raise _offline(entry) from error
        raise _unreachable(entry, constants.ENDPOINT, error.__cause__ or error) from error
    except errors.GatedRepoError as error:
        terms = f"{source} is gated: accept its terms on its page and run `hf auth login`, {own_copy(entry)}"
        raise WeightsError(terms) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError) as error:
        raise _absent(entry) from error
    except Exception as error:  # of huggingface_hub's own transport, which changed with its versions
        raise _unreachable(entry, constants.ENDPOINT, error) from error


def _from_url(entry: Entry, source: Url) -> Path:
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.file_download import http_get

    path = make_weights_folder() / "originals" / entry.original
    if path.is_file():
        return path
    if constants.HF_HUB_OFFLINE:
        raise _offline(entry)
    part = path.with_name(f"{path.name}.part")
    try:
        part.parent.mkdir(exist_ok=True)
        with part.open("ab") as file:
            headers = {"User-Agent": "kptalk", "Accept-Encoding": "identity"}
            http_get(source.address, file, resume_size=file.tell(), headers=headers, displayed_filename=path.name)
        return part.replace(path)
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status == 416 and part.stat().st_size:  # the part is longer than the file
            part.unlink()
            return _from_url(entry, source)
        raise (_absent(entry) if status in (404, 410) else _unreachable(entry, source.address, error)) from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk, not of the network
            raise WeightsError(f"cannot write {part}: {explain(error)}") from error
        raise _unreachable(entry, source.address, error) from error


def _offline(entry: Entry) -> WeightsError:
    return WeightsError(
        f"{entry.original} is not in the cache and HF_HUB_OFFLINE is set: unset it to download, {own_copy(entry)}"
    )


def _absent(entry: Entry) -> WeightsError:
    return WeightsError(f"{entry.source} does not exist (404): get the file elsewhere and use {own_copy(entry)[3:]}")


def _unreachable(entry: Entry, address: str, reason: BaseException) -> WeightsError:
    detail = " ".join(str(reason).split())[:160]
    return WeightsError(
        f"cannot download {entry.original} from {address} ({detail}): try again later, set HF_ENDPOINT to a mirror, "
        f"{own_copy(entry)}"
    )
