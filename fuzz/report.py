"""The summary of a run as text."""

from __future__ import annotations

from fuzz.run import FuzzReport

_OUTCOMES = ("read", "refused", "fault", "crash", "hang")


def table(report: FuzzReport) -> str:
    """Draw what became of the files, reader by reader.

    Parameters
    ----------
    report
        Of a run.

    Returns
    -------
    Lines of text.
    """
    lines = [f"{'reader':<12}{'files':>9}" + "".join(f"{name:>9}" for name in _OUTCOMES)]
    lines[0] += f"{'slowest':>11}{'grew':>9}"
    for name, figures in sorted(report.readers.items()):
        counts = [figures.outcomes.total(), *(figures.outcomes[each] for each in _OUTCOMES)]
        line = f"{name:<12}" + "".join(f"{count:>9,}" for count in counts)
        lines.append(line + f"{figures.slowest_seconds:>9.2f} s{figures.grew_mb:>6.0f} MB")
    lines.append("")
    for name, figures in sorted(report.readers.items()):
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in figures.kinds.most_common())
        lines.append(f"{name}: {kinds or 'no errors'}")
    rate = report.n_files / max(report.seconds, 1e-9)
    took = f"{report.seconds:.0f} s ({rate:.0f} a second)"
    lines += [
        "",
        f"{report.n_files:,} files in {took}, seed {report.settings.seed}",
        f"largest process {report.peak_mb:.0f} MB; {report.base_mb:.0f} MB before the first file",
    ]
    for told in report.failures:
        trace = str(told.get("trace", "")).strip().splitlines()
        last = trace[-1] if told["outcome"] == "fault" and trace else ""
        lines.append(
            f"{told['outcome']} {told['kind']} ({told['reader']}): "
            f"{told.get('file', told['number'])} {last}".rstrip()
        )
    return "\n".join(lines)
