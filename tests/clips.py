"""Films for tests, with a tone; clips whose motion is known are in `benchmarks.clips`."""

from fractions import Fraction

import av
import numpy as np

from benchmarks.clips import Frame, Layer, blob, flicker, scene, true_ab

__all__ = ["Frame", "Layer", "blob", "flicker", "scene", "true_ab", "write_film"]


def write_film(
    path,
    pictures,
    *,
    times=None,
    time_base=Fraction(1, 25),
    codec="libx264",
    pixel_format="yuv420p",
    options=(("crf", "4"),),
    turned=None,
    sound="aac",
    container_options=None,
):
    """A film of (h, w) or (h, w, 3) uint8 pictures, with a tone of 440 Hz as long as they are."""
    height, width = pictures[0].shape[:2]
    times = list(range(len(pictures))) if times is None else list(times)
    with av.open(str(path), "w", container_options=container_options or {}) as film:
        video = film.add_stream(
            codec,
            rate=25,
            width=width,
            height=height,
            pix_fmt=pixel_format,
            time_base=time_base,
            options=dict(options),
        )
        if turned is not None:
            video.set_display_rotation(turned[0], hflip=turned[1])
        track = film.add_stream(sound, rate=48000) if sound else None
        for picture, time in zip(pictures, times, strict=True):
            frame = av.VideoFrame.from_ndarray(
                picture, format="rgb24" if picture.ndim == 3 else "gray"
            )
            frame.pts, frame.time_base = time, time_base
            film.mux(video.encode(frame))
        film.mux(video.encode(None))
        if track is not None:
            _write_tone(film, track, float((times[-1] + 1) * time_base))
    return path


def _write_tone(film, track, seconds, n_at_once=1024):
    n_samples = int(seconds * 48000)
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(n_samples) / 48000)
    kind = track.codec_context.format.name
    tone = (tone * 32767).astype(np.int16) if kind == "s16" else tone.astype(np.float32)
    for start in range(0, n_samples, n_at_once):
        part = np.stack([tone[start : start + n_at_once]] * 2)
        if kind == "s16":  # both channels in one plane
            part = part.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), format=kind, layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        film.mux(track.encode(frame))
    film.mux(track.encode(None))
