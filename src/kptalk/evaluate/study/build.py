"""Folders of videos → one static page on which people say blindly which method's video is better."""

import hashlib
import html
import json
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from kptalk.errors import InputError, OptionError, OutputError
from kptalk.evaluate.clips import find_clips, method_names
from kptalk.files import explain, sha256
from kptalk.media.container import decode, open_stream
from kptalk.version import __version__

TITLE = "Which video is better?"
KEY_FORMAT = "kptalk study key 1"
# The three questions of KDTalker's table 2; the keys stand in the votes, the texts on the page.
QUESTIONS = {
    "lip_sync": "In which video do the lips fit the speech best?",
    "head_diversity": "In which video are the head movements most varied?",
    "naturalness": "Which video looks most natural overall?",
}
MAX_METHODS = 9  # side by side, told apart by the letters A to I
ENDINGS = (".mp4", ".m4v", ".webm")
# What current browsers play on all systems, with the pixel formats that they take.
CODECS = {"h264", "vp8", "vp9", "av1"}
PIXELS = {"yuv420p", "yuvj420p"}
CONVERT = "convert it, for example with: ffmpeg -i IN -c:v libx264 -pix_fmt yuv420p OUT.mp4"
MARK = '<meta name="generator" content="kptalk study">'  # by this a study's page is known again
PAGE, VIDEOS = "index.html", "videos"


@dataclass(frozen=True)
class Study:
    """A study that lies ready."""

    page: Path  # the folder for participants; its ``index.html`` is opened from disk or put on any web server
    key: Path  # the researcher's file that says which video is whose; it lies beside ``page`` and stays secret
    methods: tuple[str, ...]  # names of the folders
    clips: int  # how many each participant sees
    notes: tuple[str, ...]  # one line for each clip that was left out, and for each video without sound


def build_study(
    folders: Sequence[Path], output: Path, seed: int = 0, title: str = TITLE, overwrite: bool = False
) -> Study:
    """Make the page of a study and its key; the same videos, seed and title give the same files.

    Args:
        folders: two or more, each with one method's videos; files of one name show the same clip.
        output: the page's folder, which is made; the key becomes ``<output>.key.json`` beside it.
        seed: of the names that hide the methods.
        title: heading of the page, seen by participants.
        overwrite: replace a study, and its key, that is there already.

    Raises:
        OptionError: fewer than 2 or more than 9 folders, or an empty title.
        InputError: a folder cannot be read or is given twice, or no clip can be shown from all.
        OutputError: the study cannot be written, or something is there already.
    """
    key = output.with_name(f"{output.name}.key.json") if output.name else output
    _check_output(output, key, overwrite)
    title = _plain(" ".join(title.split()))
    if not title:
        raise OptionError("the title is empty: give the heading that participants will see")
    methods = _methods(folders)
    clips, notes = _shared_clips(methods)
    notes += [f"the title names {name}: participants see it" for name in methods if name in title.split()]
    page_data, key_data, copies = _blind(clips, seed, title)
    try:
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as name:
            folder = Path(name)
            page = folder / "page"
            (page / VIDEOS).mkdir(parents=True)
            for target in sorted(copies):  # in the order of their new names: the files' times tell nothing either
                shutil.copyfile(copies[target], page / target)
            (page / PAGE).write_text(_page(title, page_data), "utf-8")
            (folder / "key").write_text(json.dumps(key_data, indent=1) + "\n", "utf-8")
            if output.exists():
                output.rename(folder / "old")
            (folder / "key").replace(key)
            page.rename(output)
    except OSError as error:
        raise OutputError(f"cannot write the study {output}: {explain(error)}") from error
    return Study(output, key, tuple(methods), len(clips), tuple(notes))


def _check_output(output: Path, key: Path, overwrite: bool) -> None:
    if output.name in ("", ".."):
        raise OutputError(f"{output} is no name for a new folder: give one")
    if not output.parent.is_dir():
        raise OutputError(f"cannot make {output}: {output.parent} is not a folder; create it, or write elsewhere")
    present = [path for path in (output, key) if path.exists() or path.is_symlink()]
    if present and not overwrite:
        message = f"{present[0]} exists already: give another name, or allow overwriting"
        raise OutputError(message, option="overwrite")
    if output in present and not _is_study(output):
        raise OutputError(f"{output} is not a study made by kptalk, so it is not overwritten: give another name")
    if key.is_dir():
        raise OutputError(f"{key} is a folder: give another name")


def _is_study(folder: Path) -> bool:
    """Whether nothing but a study's page is in there, so that no one's videos are lost when it is replaced."""
    try:
        names = {path.name for path in folder.iterdir()}
        return names <= {PAGE, VIDEOS} and MARK in (folder / PAGE).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def _methods(folders: Sequence[Path]) -> dict[str, Path]:
    """Folder of each method by its name."""
    if not 2 <= len(folders) <= MAX_METHODS:
        raise OptionError(f"{len(folders)} folders of videos: give 2 to {MAX_METHODS}, one for each method")
    methods = dict(zip(map(_plain, method_names(folders)), folders, strict=True))
    if len(methods) < len(folders):
        raise InputError(f"of the folders {', '.join(methods)} one is given twice: give one for each method")
    return methods


def _shared_clips(methods: Mapping[str, Path]) -> tuple[dict[str, dict[str, Path]], list[str]]:
    """Videos by clip and method, of the clips that all methods can show, and a line about everything unusual."""
    found = {method: {path.name: path for path in find_clips(folder)} for method, folder in methods.items()}
    clips: dict[str, dict[str, Path]] = {}
    notes: list[str] = []
    left_out: list[str] = []
    for name in sorted(set().union(*found.values())):
        try:
            if absent := [method for method, videos in found.items() if name not in videos]:
                raise InputError(f"absent in {', '.join(absent)}")
            clip = {method: videos[name] for method, videos in found.items()}
            silent = [method for method, path in clip.items() if not _check_video(path)]
        except InputError as error:
            left_out.append(_plain(f"{name} left out: {error}"))
        else:
            notes += [f"{_plain(name)} of {method} has no sound" for method in silent]
            clips[name] = clip
    if not clips:
        raise InputError(f"no clip can be shown from all {len(methods)} folders ({left_out[0]})")
    return clips, left_out + notes


def _check_video(path: Path) -> bool:
    """Make sure that browsers play a video; says whether it has sound."""
    name = _plain(str(path))
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"{name} does not end in {', '.join(ENDINGS)}: {CONVERT}")
    with open_stream(path, "video") as (container, stream):
        codec, pixels = stream.codec_context.codec.canonical_name, stream.codec_context.pix_fmt
        if codec not in CODECS or pixels not in PIXELS:
            raise InputError(f"{name} is {codec} in {pixels}, which browsers do not play: {CONVERT}")
        if next(decode(container, stream), None) is None:
            raise InputError(f"{name} has a video stream, but no picture of it can be decoded")
        return bool(container.streams.audio)


def _blind(
    clips: Mapping[str, Mapping[str, Path]], seed: int, title: str
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Path]]:
    """What the page knows, what the key knows, and which video goes where in the page's folder."""
    shown, known = {}, []
    copies: dict[str, Path] = {}
    for name, videos in clips.items():
        clip, codes = _code(seed, name), {_code(seed, name, method): method for method in videos}
        files = {code: f"{VIDEOS}/{code}{videos[method].suffix.lower()}" for code, method in codes.items()}
        owners = {c: {"method": method, "sha256": sha256(videos[method], InputError)} for c, method in codes.items()}
        copies |= {files[code]: videos[method] for code, method in codes.items()}
        shown[clip] = dict(sorted(files.items()))
        known.append({"code": clip, "name": name, "videos": owners})
    study = _code(seed, title, json.dumps(known))
    questions = [{"key": question, "text": text} for question, text in QUESTIONS.items()]
    in_order = [{"code": code, "videos": files} for code, files in sorted(shown.items())]
    page = {"study": study, "title": title, "questions": questions, "clips": in_order}
    key = {"format": KEY_FORMAT, "study": study, "title": title, "seed": seed, "kptalk": __version__}
    key |= {"questions": list(QUESTIONS), "methods": list(next(iter(clips.values()))), "clips": known}
    return page, key, copies


def _code(seed: int, *parts: str) -> str:
    """Twelve hexadecimal digits that say nothing of what they stand for."""
    return hashlib.sha256(json.dumps([seed, *parts]).encode()).hexdigest()[:12]


def _page(title: str, data: Mapping[str, Any]) -> str:
    """The template filled in; both texts are escaped, so nothing in them can become markup or script."""
    script = json.dumps(data).replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    texts = {"MARK": MARK, "TITLE": html.escape(title), "STUDY": script}
    template = files("kptalk.evaluate.study").joinpath("page.html").read_text("utf-8")
    return re.sub(r"\{\{(MARK|TITLE|STUDY)\}\}", lambda match: texts[match[1]], template)


def _plain(text: str) -> str:
    """A text for one line: line breaks, control characters and undecodable bytes of file names are replaced."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
