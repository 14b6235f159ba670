"""The on-disk form of a model: an epoch is a folder, a module is a file, and a folder is whole or not listed."""

from redheart.checkpoint.epoch import (
    START_EPOCH,
    EpochCheckpoint,
    epoch_folders,
    epochs_folder,
    find_start,
    list_epochs,
    load_modules,
    read_manifest,
    save_epoch,
    save_model,
    save_streamed,
)
from redheart.checkpoint.manifest import Manifest
from redheart.checkpoint.resume import ResumeState, newest_resume_state, save_resume_state

__all__ = [
    "START_EPOCH",
    "EpochCheckpoint",
    "Manifest",
    "ResumeState",
    "epoch_folders",
    "epochs_folder",
    "find_start",
    "list_epochs",
    "load_modules",
    "newest_resume_state",
    "read_manifest",
    "save_epoch",
    "save_model",
    "save_resume_state",
    "save_streamed",
]
