"""What TensorBoard shows beside curves: pictures, sounds, and which curves belong together."""

import io
import wave
from collections.abc import Mapping

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.custom_scalar import layout_pb2, metadata

LAYOUT: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "what trials are ranked by": {
        "scores": (
            "val/score",
            "val/kl_health",
            "val/disentanglement",
            "val/reconstruction_score",
        ),
        "rung score": ("val/rung_score",),
    },
    "loss (nats)": {
        "minimised": ("train/objective_nats",),
        "negative ELBO": ("train/negative_elbo_nats", "val/negative_elbo_nats"),
        "reconstruction": (
            "train/reconstruction_nats",
            "val/reconstruction_nats",
            "val/reconstruction_shuffled_z_nats",
        ),
        "KL": ("train/kl_nats", "train/kl_charged_nats", "val/kl_nats"),
        "β": ("objective/beta",),
    },
    "latent space": {
        "KL of each level (nats)": ("val/kl_nats/[^/]+",),
        "rate of each dimension (nats)": ("dimension/rate_nats/.+",),
        "information of each dimension (nats)": ("dimension/information_nats/.+",),
        "KL health and its terms": ("val/kl_health", "val/kl_health/[^/]+"),
        "KL health of each level": ("val/kl_health/[^/]+/kl_health",),
        "terms of each level": ("val/kl_health/[^/]+/(?!kl_health)[^/]+",),
        "dimensions in use": ("val/active_units", "val/live_dimensions"),
        "disentanglement and its parts": (
            "val/disentanglement",
            "val/mig_rank32",
            "val/dcimig",
            "val/dci_et_[a-z]+",
        ),
    },
    "accuracy": {
        "share of tokens and windows": ("val/token_accuracy", "val/sequence_accuracy"),
        "probability of a token": ("val/token_probability",),
        "notes that come back (F1)": ("val/reconstruction_score",),
    },
    "cost": {
        "seconds a step": ("time/step_s",),
        "tokens a second": ("throughput/tokens_per_s",),
        "peak memory (GiB)": ("memory/peak_gib",),
    },
}
"""Of the Custom Scalars page: category, chart, and the tags in it as regular expressions."""


def layout_summary() -> Summary:
    """:data:`LAYOUT` as TensorBoard reads it."""
    layout = layout_pb2.Layout()
    for category, charts in LAYOUT.items():
        group = layout.category.add(title=category)
        for title, tags in charts.items():
            group.chart.add(title=title).multiline.tag.extend(f"^{tag}$" for tag in tags)
    tensor = TensorProto(dtype=DT_STRING, string_val=[layout.SerializeToString()])
    about = metadata.create_summary_metadata()
    return Summary(
        value=[Summary.Value(tag=metadata.CONFIG_SUMMARY_TAG, metadata=about, tensor=tensor)]
    )


def picture_summary(tag: str, png: bytes) -> Summary:
    """A PNG file in colour, for the Images page."""
    width, height = (int.from_bytes(png[at : at + 4]) for at in (16, 20))  # of its first chunk
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png)
    return Summary(value=[Summary.Value(tag=tag, image=image)])


def sound_summary(tag: str, wav: bytes) -> Summary:
    """A WAV file, for the Audio page."""
    with wave.open(io.BytesIO(wav)) as file:
        audio = Summary.Audio(
            sample_rate=file.getframerate(),
            num_channels=file.getnchannels(),
            length_frames=file.getnframes(),
            encoded_audio_string=wav,
            content_type="audio/wav",
        )
    return Summary(value=[Summary.Value(tag=tag, audio=audio)])
