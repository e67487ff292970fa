import dataclasses

from dapter.attacks.as_is import AsIs
from dapter.attacks.reconstruction import Reconstruction
from dapter.audit import audit
from dapter.cli import main
from dapter.loop import Plan
from dapter.runs import DONE, Run


def test_audits_are_told_in_words_and_their_cells_are_counted(data, service, tmp_path, capsys):
    plan = Plan(epochs=1, batch_size=32, augment=False)
    few = dataclasses.replace(data, splits={name: split.head(16) for name, split in data.splits.items()})
    audit(["constant"], service, few, attacks=(AsIs(True), Reconstruction(width=4, plan=plan)), root=tmp_path)
    capsys.readouterr()
    assert main(["list", str(tmp_path)]) == 0
    told, counted = capsys.readouterr().out.splitlines()
    assert told.startswith(f"done  {tmp_path}/audit-shapes-colour-")
    assert told.endswith("of constant by answer_image, as_is, reconstruction; preset cpu, seeds 0")
    cells = tmp_path / "attacks"
    assert counted == f"11 parts of audits done: `dapter list {cells}` shows each"
    (next(cells.glob("as_is-constant-*")) / DONE).unlink()
    (next(cells.glob("reconstruction-constant-*")) / "manifest.json").write_text("{")
    assert main(["list", str(tmp_path)]) == 0
    assert "10 parts of audits done, 1 open" in capsys.readouterr().out
    assert main(["list", str(cells)]) == 0
    lines = capsys.readouterr().out
    assert "on constant: stretch yes; seed 0\n" in lines
    assert "on identity: hidden 64, " in lines
    assert "s of processors" in lines
    assert "(its manifest cannot be read)" in lines


def test_other_runs_are_listed_as_they_are(tmp_path, capsys):
    Run.open(tmp_path, "service-x", {"kind": "service"})
    assert main(["list", str(tmp_path)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"open  {tmp_path}/service-x-")
