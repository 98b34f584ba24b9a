"""The folder of a run: what it may begin in, and what is left alone there."""

from zcolor.training.run_folder import RunFolder


def test_what_an_earlier_run_left_is_kept(tmp_path, caplog):
    folder = RunFolder(tmp_path)
    (tmp_path / "log.1.jsonl").write_text("the first")
    folder.best.write_bytes(b"weights")
    (tmp_path / "log.jsonl").write_text("the second")
    assert not folder.check(resume=False)
    folder.set_aside()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "best.2.safetensors": "weights",
        "log.2.jsonl": "the second",
        "log.1.jsonl": "the first",
    }
    assert "best.safetensors is of an earlier run without a state; kept as best.2" in caplog.text
    folder.set_aside()  # there is nothing more
    assert len(list(tmp_path.iterdir())) == 3


def test_only_its_own_half_files_are_cleared_away(tmp_path):
    runs = tmp_path / "runs"
    ours = [runs / ".zcolor-01.part", runs / "sheets" / ".zcolor-02.part"]
    other = runs / "other" / ".zcolor-03.part"  # of a run that writes its state at this moment
    for path in (*ours, other):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with RunFolder(runs).held():
        assert not any(path.exists() for path in ours)
        assert other.exists()
