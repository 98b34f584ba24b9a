"""How crops are aged as old film; imports no torch, so that the command line starts at once."""

from __future__ import annotations

from dataclasses import dataclass

from zcolor.training.setting_checks import are_shares


@dataclass(frozen=True)
class FilmSettings:
    """Old film: how a training crop is aged before the network sees it; targets stay clean.

    Every effect has a chance, drawn for each aged crop, and a range that its strength is drawn
    from. Lengths are in pixels of a crop of 64 to 128; tones are display values, 0 black, 1 white.
    """

    share: float = 0.3
    """Share of the crops that are aged at all."""
    spectrum_chance: float = 0.9
    """Chance that red, green and blue are mixed as an emulsion sees them; else as the eye does."""
    spectrum: tuple[float, float, float, float] = (0.1, 0.35, 0.4, 0.15)
    """Mean shares of the mix: blue-sensitive, orthochromatic, panchromatic emulsion, the eye."""
    unworn_share: float = 0.0
    """Share of the aged crops whose emulsion is all that shows: scans without any sign of age."""
    blur_chance: float = 0.4
    """Chance of a soft lens or a missed focus."""
    blur: tuple[float, float] = (0.3, 1.0)
    """Sigma of the blur, in pixels."""
    tone_chance: float = 0.8
    """Chance of a tone curve: exposure, then the contrast of film and paper."""
    gamma: tuple[float, float] = (0.75, 1.4)
    """Exponent of the display values: below 1 brightens, above 1 darkens."""
    contrast: tuple[float, float] = (-0.3, 0.7)
    """How far towards a smooth step the tones go, in [-1, 1]: 0 not at all, below 0 the other way
    (flat)."""
    grain_chance: float = 0.7
    """Chance of visible grain."""
    grain: tuple[float, float] = (0.01, 0.04)
    """Sigma of the grain at middle grey, before fading."""
    grain_size: tuple[float, float] = (0.0, 0.8)
    """Sigma of the blur that makes neighbouring grain alike, in pixels."""
    fade_chance: float = 0.5
    """Chance that the print has faded."""
    black: tuple[float, float] = (0.0, 0.25)
    """What black has risen to."""
    white: tuple[float, float] = (0.75, 1.0)
    """What white has sunk to."""
    vignette_chance: float = 0.25
    """Chance that the light falls off around some point of the crop."""
    vignette: tuple[float, float] = (0.1, 0.4)
    """Share of the display value that is lost where the crop is farthest from that point."""
    scratch_chance: float = 0.2
    """Chance of scratches: straight lines one pixel wide."""
    scratches: tuple[int, int] = (1, 3)
    """Number of scratches."""
    dust_chance: float = 0.3
    """Chance of dust."""
    dust: tuple[float, float] = (0.2, 1.2)
    """Specks of dust per 1000 pixels."""
    hair_chance: float = 0.1
    """Chance of hairs and fibres: curved lines one pixel wide."""
    hairs: tuple[int, int] = (1, 2)
    """Number of hairs."""
    opacity: tuple[float, float] = (0.2, 0.7)
    """How far scratches, dust and hairs hide what is under them, drawn for each."""
    jpeg_chance: float = 0.4
    """Chance that the scan went through JPEG."""
    jpeg: tuple[int, int] = (50, 95)
    """Quality of the JPEG file."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        chances = (
            "share",
            "unworn_share",
            *(name for name in vars(self) if name.endswith("_chance")),
        )
        for name in chances:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        for name, lowest, highest in (
            ("blur", 0.0, 8.0),
            ("gamma", 0.2, 5.0),
            ("contrast", -1.0, 1.0),
            ("grain", 0.0, 0.5),
            ("grain_size", 0.0, 4.0),
            ("black", 0.0, 1.0),
            ("white", 0.0, 1.0),
            ("vignette", 0.0, 1.0),
            ("scratches", 0, 100),
            ("dust", 0.0, 100.0),
            ("hairs", 0, 100),
            ("opacity", 0.0, 1.0),
            ("jpeg", 1, 100),
        ):
            low, high = getattr(self, name)
            if not lowest <= low <= high <= highest:
                raise ValueError(
                    f"{name} must be two numbers with {lowest} <= low <= high <= {highest}, "
                    f"got {getattr(self, name)}"
                )
        if self.black[1] >= self.white[0]:
            raise ValueError(
                f"black must stay below white, got black={self.black} and white={self.white}"
            )
        if not are_shares(self.spectrum):
            raise ValueError(
                f"the shares of spectrum, none below 0, must sum to 1, got {self.spectrum}"
            )
