"""A complete set of the official files, in their own nesting and names, filled by the weight rule."""

import numpy as np
import torch
from parity_weights import weights

from kptalk.networks.inception import Inception
from kptalk.weights.registry import ENTRIES, PINS

STITCHING = ENTRIES["stitching"]
PLAIN = {  # name: manifest, place in the official folder; state dicts without nesting
    "appearance_extractor": (
        "appearance_feature_extractor",
        "pretrained_weights/liveportrait/base_models/appearance_feature_extractor.pth",
    ),
    "motion_extractor": ("motion_extractor", "pretrained_weights/liveportrait/base_models/motion_extractor.pth"),
    "warping": ("warping_module", "pretrained_weights/liveportrait/base_models/warping_module.pth"),
    "decoder": ("spade_generator", "pretrained_weights/liveportrait/base_models/spade_generator.pth"),
    "syncnet": ("syncnet", "data/syncnet_v2.model"),
    "hopenet": ("hopenet", "evaluation/deep-head-pose/code/hopenet_robust_alpha1.pkl"),
}
RETARGETING = {"stitching": "retarget_shoulder", "lip": "retarget_mouth", "eye": "retarget_eye"}
SPREAD = {"stitching": "stitching", "eye": "retargeting_eye"}


def unpin(patch):
    """Accept made-up files: nobody can make one with an official digest."""
    for name in list(PINS):
        patch.delitem(PINS, name)


def rule(parity, name):
    """State dict of an entry by the rule, under the names that our classes use; Inception has no manifest."""
    if name == "inception":
        torch.manual_seed(0)
        return Inception().state_dict()
    manifests = {name: manifest for name, (manifest, _) in PLAIN.items()}
    manifests |= {ours: f"stitching_retargeting_module_{name}" for name, ours in SPREAD.items()}
    manifests |= {"audio": "wav2lip_audio_encoder", "kdtalker": "kdtalker_point_diffusion"}
    return weights(parity, manifests[name])


def distributed(state):
    """Names as a model has them that was trained on several GPUs."""
    return {f"module.{name}": value for name, value in state.items()}


def stitching_file(folder, parity):
    """Stitching and retargeting, which share a file."""
    nested = {
        key: distributed(weights(parity, f"stitching_retargeting_module_{name}")) for name, key in RETARGETING.items()
    }
    path = folder / STITCHING.original
    torch.save(nested, path)
    return path


def publish(folder, parity):
    """Fill a folder. The evaluators' files are as old ones are: no zip, no counters of batches."""
    for name, (_, place) in PLAIN.items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        old = ENTRIES[name].set == "evaluate"
        state = {key: value for key, value in rule(parity, name).items() if not (old and "num_batches" in key)}
        torch.save(state, path, _use_new_zipfile_serialization=not old)
    (folder / "pretrained_weights/liveportrait/retargeting_models").mkdir()
    stitching_file(folder / "pretrained_weights/liveportrait/retargeting_models", parity)
    (folder / "ckpts").mkdir()
    torch.save({"model": rule(parity, "kdtalker"), "step": 5, "optimizer": {}}, folder / "ckpts/KDTalker.pth")
    whole = {**rule(parity, "audio"), "face_encoder_blocks.0.0.conv_block.0.weight": torch.zeros(16, 6, 7, 7)}
    torch.save({"state_dict": distributed(whole), "global_step": 3}, folder / "ckpts/wav2lip.pth")
    torch.save(rule(parity, "inception"), folder / "evaluation" / ENTRIES["inception"].original)
    (folder / "dataset_process").mkdir()
    with np.load(parity / "fixtures/kdtalker_norm.npz") as numbers:
        np.savez(folder / "dataset_process/norm.npz", **numbers)
