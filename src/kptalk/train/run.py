"""``kptalk train``: from shards to weights that the pipeline loads."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from safetensors.numpy import save_file

from kptalk.device import pick_device, set_threads
from kptalk.errors import DatasetError, OptionError, OutputError
from kptalk.motion.facemesh.generator import SamplerConfig
from kptalk.motion.facemesh.space import FaceMeshSpace
from kptalk.networks.audio_encoder import AudioEncoder, AudioEncoderConfig
from kptalk.networks.lip_ensemble import LipEnsemble
from kptalk.networks.sync import SyncModel
from kptalk.train import audio, lips, motion, sync
from kptalk.train.data import OfPerson, TrainingClip, load_clips, mirror_tokens, save_clips, split_fold, training_clip
from kptalk.train.loop import LoopConfig, Progress, fit
from kptalk.train.prepare import Shard, load_shards
from kptalk.train.space import align_clip, fit_space, fit_template
from kptalk.weights.store import load_model, read_header, save_model

NETWORKS = ("facemesh", "audio", "lips", "motion", "syncnet")
FILES = {"syncnet": "sync"}  # names of weights files that are not the network's; syncnet is the official one's
AUDIO_STEPS, LIPS_STEPS, MOTION_STEPS, SYNC_STEPS = 1600, 400, 4000, 800
# Measured on the people held out; the pose's is for scale, yaw, pitch, roll and translation.
LIP_SCALE, MOUTH_GAIN, POSE_GAIN = 0.45, 3.2, (2.0, 3.4, 3.4, 2.2, 2.0, 2.0, 2.0)
CLIPS = "clips.safetensors"
VERSIONS = 8  # augmented versions of every clip's sound that the denoiser hears

Clip = TypeVar("Clip", bound=OfPerson)


def train_network(
    name: str,
    data: Path,
    folder: Path,
    *,
    steps: int | None = None,
    seed: int = 0,
    minutes: float = 0,
    device: str = "auto",
    progress: Progress | None = None,
) -> Path:
    """Train one network; ``facemesh`` and ``audio`` must be in ``folder`` before ``lips`` and ``motion``.

    One person in ten is held out to choose the best weights by; nobody else's clips are looked at.

    Args:
        name: ``facemesh``, ``audio``, ``lips`` (without which the denoiser alone moves the mouth) or ``motion``; or
            ``syncnet``, the judge of lip sync, which needs no other.
        data: folder of shards; for ``audio``, ``lips`` and ``motion`` also the file of clips that ``facemesh`` wrote,
            small enough to travel to another machine.
        folder: where the weights go, with ``NAME.log`` folders for resuming.
        steps: optimiser steps.
        seed: of batches and initial weights.
        minutes: stop after this long; 0 for no limit.
        device: see ``kptalk.device``.
        progress: told at every score.

    Returns:
        the weights file.

    Raises:
        OptionError: no such network, or no steps.
        DatasetError: the shards cannot be used.
        WeightsError: the networks before are missing.
        OutputError: the folder cannot be made.
    """
    if name not in NETWORKS:
        raise OptionError(f"network is {name!r}: give one of {', '.join(NETWORKS)}")
    if steps is not None and steps < 1:
        raise OptionError(f"steps is {steps}: give 1 or more")
    set_threads()
    where = str(pick_device(device))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error.strerror}; give another one") from error
    path = folder / f"{FILES.get(name, name)}.safetensors"
    if name == "syncnet":
        config = LoopConfig(
            steps or SYNC_STEPS, learning_rate=2e-3, ema=0.99, tolerance=0.05, seed=seed, minutes=minutes
        )
        judge = _sync_model(load_shards(data), folder / "sync.log", config, progress, where)
        save_model(path, judge, judge.config, half=True)
        return path
    if name == "facemesh":
        shards = load_shards(data)
        template = fit_template([shard.landmarks for shard in shards])
        save_file(fit_space([align_clip(shard.landmarks, template) for shard in shards], template), path)
        save_clips(_clips(FaceMeshSpace.load(path), shards), folder / CLIPS)
        return path
    space = FaceMeshSpace.load(folder / "facemesh.safetensors")
    clips = load_clips(data) if data.is_file() else _clips(space, load_shards(data))
    chosen, judges = _split(clips)
    mirror = mirror_tokens(space)
    opening, importance = space.lip_tokens(), space.token_importance()
    torch.manual_seed(seed)
    if name == "audio":
        prior = audio.speech_mel_mean(chosen)
        config = LoopConfig(
            steps or AUDIO_STEPS, learning_rate=1e-3, ema=0.99, score_every=50, seed=seed, minutes=minutes
        )
        trained = fit(
            audio.AudioTrainer(),
            audio.audio_loss(audio.ClipSampler(chosen, prior, mirror), importance, opening),
            audio.audio_score(judges, prior, opening),
            folder / "audio.log",
            config,
            progress,
            where,
        )
        extra = {"speech_mel_mean": json.dumps([round(float(x), 4) for x in prior])}
        save_model(path, trained.encoder, AudioEncoderConfig(), extra, half=True)
        return path
    prior = np.array(json.loads(read_header(folder / "audio.safetensors")["speech_mel_mean"]), np.float32)
    if name == "lips":
        config = LoopConfig(
            steps or LIPS_STEPS,
            learning_rate=1e-3,
            ema=0.99,
            score_every=50,
            tolerance=0.02,
            seed=seed,
            minutes=minutes,
        )
        reader = fit(
            LipEnsemble(),
            lips.lips_loss(audio.ClipSampler(chosen, prior, mirror), space),
            lips.lips_score(judges, prior, space),
            folder / "lips.log",
            config,
            progress,
            where,
        )
        save_model(path, reader, reader.config, half=True)
        return path
    encoder = load_model(folder / "audio.safetensors", AudioEncoder, AudioEncoderConfig).to(where)
    bank = motion.FeatureBank(chosen, encoder, prior, VERSIONS, seed)
    config = LoopConfig(
        steps or MOTION_STEPS,
        learning_rate=6e-4,
        ema=0.999,
        score_every=250,
        tolerance=0.02,
        seed=seed,
        minutes=minutes,
    )
    denoiser = fit(
        motion.compact_denoiser(),
        motion.motion_loss(bank, mirror, importance),
        motion.motion_score(judges, encoder, prior, opening),
        folder / "motion.log",
        config,
        progress,
        where,
    )
    mean = np.concatenate([clip.tokens[:, 7:] for clip in chosen]).mean(0)
    sampler = SamplerConfig(
        lip_scale=LIP_SCALE,
        mouth_gain=MOUTH_GAIN,
        pose_gain=POSE_GAIN,
        mean_expression=tuple(round(float(x), 4) for x in mean),
    )
    save_model(path, denoiser, denoiser.config, {"sampler": json.dumps(asdict(sampler))}, half=True)
    return path


def _sync_model(
    shards: list[Shard], log: Path, config: LoopConfig, progress: Progress | None, device: str
) -> SyncModel:
    points = sync.held_points(shards)
    chosen, judges = _split(sync.with_own_offsets(sync.sync_clips(shards, points)))
    torch.manual_seed(config.seed)
    loss, score = sync.sync_loss(sync.SyncSampler(chosen)), sync.sync_score(judges)
    return fit(sync.sync_model(points), loss, score, log, config, progress, device)


def _split(clips: list[Clip]) -> tuple[list[Clip], list[Clip]]:
    """Clips to train on, and those of the people to choose by."""
    kept, held = split_fold(clips)
    if not kept or not held:
        raise DatasetError("training needs clips of at least two people, one of them to choose the weights by")
    return [clips[i] for i in kept], [clips[i] for i in held]


def _clips(space: FaceMeshSpace, shards: list[Shard]) -> list[TrainingClip]:
    return [training_clip(space, shard.landmarks, shard.sound, shard.identity) for shard in shards]
