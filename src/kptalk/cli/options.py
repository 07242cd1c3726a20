"""Arguments and options of several commands; their help and groups come from ``kptalk.options``."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from typer.core import TyperCommand

from kptalk.options import STYLES, Control, Options, ReenactOptions, RetargetOptions, parse_blinks, parse_fps


def flag_of(name: str) -> str:
    """An option's name as the command line has it."""
    return f"--{name.replace('_', '-')}"


def completing(words: Iterable[str]) -> Callable[[str], list[str]] | None:
    """What the shell offers: those words that begin as what is typed; where none does, bash offers files."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete if words else None


def option(options: type, name: str, *flags: str, words: Iterable[str] = ()) -> Any:
    """The command line's form of an option: same name, same help, same group; ``words`` are values to complete."""
    known: dict[str, Field[Any]] = {each.name: each for each in fields(options)}
    about = known[name].metadata
    complete = completing(about["choices"] or words)
    return typer.Option(*flags, help=about["help"], rich_help_panel=about["group"], autocompletion=complete)


def flag(help: str, *flags: str, group: str = "Output", words: Iterable[str] = (), metavar: str | None = None) -> Any:
    """An option that only the command line has."""
    return typer.Option(*flags, help=help, rich_help_panel=group, autocompletion=completing(words), metavar=metavar)


GROUPS = (  # of options
    *("Output", "Text", "Server", "Limits", "Evaluation", "Training"),
    *("Motion", "Picture", "Model", "Other"),
)
# Named here too, for the shell's completion is not to wait for torch; a test compares them.
MODELS, DEVICES = ("embedded", "landmark", "official"), ("auto", "cpu", "cuda", "mps")
ENGINES = ("espeak-ng", "flite")

Portrait = Annotated[Path, typer.Argument(metavar="PORTRAIT", help="The photo: any image file.")]
Video = Annotated[Path, flag("The video to write.", "--output", "-o", metavar="OUT.mp4")]
Model = Annotated[str, flag("'embedded', 'landmark', 'official', or a model folder.", group="Model", words=MODELS)]
Size = Annotated[int | None, option(Options, "size")]
Framing = Annotated[str, option(Options, "framing")]
Stitch = Annotated[bool | None, option(Options, "stitch", "--stitch/--no-stitch")]
Rotate = Annotated[str, option(Options, "rotate")]
Refine = Annotated[bool | None, option(Options, "refine", "--refine/--no-refine")]
DrawSteps = Annotated[int | None, option(Options, "draw_steps")]
Guidance = Annotated[float | None, option(Options, "guidance")]
Watermark = Annotated[bool, option(Options, "watermark", "--watermark/--no-watermark")]
FaceNumber = Annotated[int | None, flag("Which of several faces, 1 is the leftmost.", "--face", group="Picture")]
Seed = Annotated[int, option(Options, "seed")]
Steps = Annotated[int | None, option(Options, "steps")]
Fps = Annotated[str, option(Options, "fps")]
OtherFps = Annotated[str | None, option(ReenactOptions, "fps", "--fps")]
Mode = Annotated[str, option(RetargetOptions, "mode")]
Region = Annotated[str, option(RetargetOptions, "region")]
Pose = Annotated[str, option(Control, "pose", words=("auto", "still"))]
PoseScale = Annotated[float, option(Control, "pose_scale")]
Style = Annotated[str, option(Control, "style", words=STYLES)]
Liveliness = Annotated[float, option(Control, "liveliness")]
HeadSpread = Annotated[float | None, option(Control, "head_spread")]
Yaw = Annotated[float, option(Control, "yaw")]
Pitch = Annotated[float, option(Control, "pitch")]
Roll = Annotated[float, option(Control, "roll")]
MouthScale = Annotated[float, option(Control, "mouth_scale")]
ExpressionScale = Annotated[float, option(Control, "expression_scale")]
Blinks = Annotated[str, flag("'auto', 'off', or blinks per minute.", group="Motion", words=("auto", "off"))]
Text = Annotated[str | None, flag("What the portrait says, instead of SPEECH.", group="Text")]
TextFile = Annotated[Path | None, flag("The same, from a file in UTF-8.", group="Text")]
Tts = Annotated[
    str | None,
    flag(
        "Who says it: espeak-ng, flite, a command with {text}, {wav} and {voice}, or the http address of a server with "
        "OpenAI's /v1/audio/speech; the first of the two that is installed.",
        group="Text",
        words=ENGINES,
    ),
]
Voice = Annotated[str | None, flag("The engine's name of a voice; its usual one.", group="Text")]
Precision = Annotated[
    str, flag("kdtalker: 'auto', or 'float32' where auto takes bfloat16.", group="Model", words=("auto", "float32"))
]
SaveMotion = Annotated[Path | None, flag("Also write the motion, a .safetensors file.")]
Device = Annotated[str, flag("'auto', 'cpu', 'cuda' or 'mps'.", group="Model", words=DEVICES)]
Overwrite = Annotated[bool, flag("Replace existing outputs.", "--overwrite")]
Engine = Annotated[
    str, flag("'local': processes of this machine; 'ray': a Ray cluster.", group="Other", words=("local", "ray"))
]
Jobs = Annotated[int | None, flag("Workers; without it one a core.", group="Other", metavar="N")]
Address = Annotated[str | None, flag("Of the Ray cluster, 'auto' or a host; else one starts here.", group="Other")]
Gpus = Annotated[
    float | None, flag("GPUs of a worker of the cluster, such as 0.25; 1 where it has any.", group="Other")
]
Quiet = Annotated[bool, flag("Print nothing but warnings and errors.", "--quiet", group="Other")]


@dataclass(frozen=True)
class Speaking:
    """What ``animate`` and ``batch`` share: how a portrait speaks."""

    steps: Steps = None
    seed: Seed = 0
    pose: Pose = "auto"
    pose_scale: PoseScale = 1.0
    style: Style = "auto"
    liveliness: Liveliness = 0.0
    head_spread: HeadSpread = None
    yaw: Yaw = 0.0
    pitch: Pitch = 0.0
    roll: Roll = 0.0
    mouth_scale: MouthScale = 1.0
    expression_scale: ExpressionScale = 1.0
    blinks: Blinks = "auto"
    size: Size = None
    framing: Framing = "full"
    stitch: Stitch = None
    fps: Fps = "25"
    face: FaceNumber = None
    rotate: Rotate = "auto"
    refine: Refine = None
    draw_steps: DrawSteps = None
    guidance: Guidance = None
    watermark: Watermark = True

    def parsed(self) -> Options:
        """The library's form of these, but the face."""
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "face"}
        rates = {"blinks": parse_blinks(self.blinks), "fps": parse_fps(self.fps)}
        return Options.from_dict(values | rates)


@dataclass(frozen=True)
class Driving:
    """What ``reenact`` and ``motion render`` share."""

    speech: Annotated[
        Path | None, flag("The sound, in the place of the driver's own; cut or filled up to the video's length.")
    ] = None
    mode: Mode = "relative"
    region: Region = "all"
    fps: OtherFps = None
    size: Size = None
    framing: Framing = "full"
    stitch: Stitch = None
    face: FaceNumber = None
    rotate: Rotate = "auto"
    refine: Refine = None
    draw_steps: DrawSteps = None
    guidance: Guidance = None
    watermark: Watermark = True

    def parsed(self) -> ReenactOptions:
        """The library's form of these."""
        rate = None if self.fps is None else parse_fps(self.fps)
        retarget = RetargetOptions(self.mode, self.region)
        names = ("size", "framing", "stitch", "rotate", "refine", "draw_steps", "guidance", "watermark")
        picture = {name: getattr(self, name) for name in names}
        return ReenactOptions(**picture, retarget=retarget, fps=rate)


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command have the fields of its dataclass parameters as options of its own: several commands share them."""
    kinds: dict[str, Any] = {}
    parameters = []
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        if is_dataclass(parameter.annotation):
            kinds[parameter.name] = parameter.annotation
            hints = get_type_hints(parameter.annotation, include_extras=True)
            for each in fields(parameter.annotation):
                default = inspect.Parameter.empty if each.default is MISSING else each.default
                own = parameter.replace(name=each.name, default=default, annotation=hints[each.name])
                parameters.append(own.replace(kind=parameter.KEYWORD_ONLY))
        else:
            parameters.append(parameter.replace(kind=parameter.KEYWORD_ONLY))

    @wraps(command)
    def flat(**values: Any) -> None:
        for name, kind in kinds.items():
            values[name] = kind(**{each.name: values.pop(each.name) for each in fields(kind)})
        command(**values)

    flat.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what the parser reads
    flat.__annotations__ = {each.name: each.annotation for each in parameters}
    return flat


class Grouped(TyperCommand):
    """A command whose help shows arguments, then the groups of options in one order, and ``--help`` in the last."""

    def get_help_option(self, ctx: Any) -> Any:
        found = super().get_help_option(ctx)
        if found is not None:
            found.rich_help_panel = GROUPS[-1]
        return found

    def get_params(self, ctx: Any) -> Any:
        def place(each: Any) -> tuple[bool, int]:
            return each.param_type_name != "argument", GROUPS.index(each.rich_help_panel or GROUPS[0])

        return sorted(super().get_params(ctx), key=place)
