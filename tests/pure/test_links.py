"""Links of the inputs that lead out of the folders which a container is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpam_hpc.errors import ConfigError
from dpam_hpc.settings import SubmitSettings
from dpam_hpc.submit import links, submission
from dpam_hpc.submit.survey import Templates, survey
from dpam_hpc.target import WorkFolder


def folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def test_each_folder_on_the_way_counts_as_links_name_it(tmp_path: Path) -> None:
    real = folder(tmp_path / "real")
    (real / "P.pdb").write_text("x")
    (tmp_path / "mounted").symlink_to(real)
    (folder(tmp_path / "half") / "P.pdb").symlink_to("../mounted/P.pdb")
    (folder(tmp_path / "work") / "P.pdb").symlink_to(tmp_path / "half" / "P.pdb")
    behind = list(links.behind_file(tmp_path / "work" / "P.pdb"))
    assert behind == [str(tmp_path / "half"), str(tmp_path / "mounted")]
    assert list(links.behind_file(real / "P.pdb")) == []
    assert list(links.behind_folder(tmp_path / "mounted")) == [str(real)]
    assert list(links.behind_folder(real)) == []


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert set(links.behind_file(tmp_path / "a")) == {str(tmp_path)}


def test_what_is_given_or_within_another_or_absent_is_not_bound(tmp_path: Path) -> None:
    work, models = folder(tmp_path / "work"), folder(tmp_path / "models")
    inner = folder(models / "af")
    found = links.outside(
        map(str, [inner, models, folder(work / "sub"), tmp_path / "absent"]), [work]
    )
    assert found == [models]


def test_very_many_folders_are_one_above_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [str(folder(tmp_path / "models" / str(n))) for n in range(links.MOST + 1)]
    assert links.outside(many, []) == [tmp_path / "models"]
    with pytest.raises(ConfigError, match="too many places") as error:
        links.outside([*many, "/usr"], [])
    assert "bind_paths" in error.value.hint


def test_links_among_all_inputs_are_found(tmp_path: Path) -> None:
    models, lists, templates, more = (
        folder(tmp_path / name) for name in ("models", "lists", "templates", "more")
    )
    work, data = folder(tmp_path / "work"), folder(tmp_path / "data")
    (models / "P.pdb").write_text("x" * 81)
    (lists / "P_hits4Dali").write_text("T1\nT2\n")
    (templates / "T1.pdb").write_text("")
    (more / "T2.pdb").write_text("")
    (templates / "T2.pdb").symlink_to(more / "T2.pdb")
    (data / "ECOD70").symlink_to(templates)
    for place, name in ((models, "P.pdb"), (lists, "P_hits4Dali")):
        (work / name).symlink_to(place / name)
    (work / "Q.pdb").write_text("x" * 81)
    (work / "Q_hits4Dali").write_text("T1\n")

    known = Templates(data, None)
    found = survey(WorkFolder(work, False), ["P", "Q"], known)
    assert found.problems == []
    assert found.pairs == 3
    assert found.behind == {str(models), str(lists)}
    assert known.behind == {str(templates), str(more)}
    settings = SubmitSettings(work_dir=work, data_dir=data)
    everything = known.behind | found.behind
    assert submission.linked(settings, everything) == ((), []), "without an image"
    settings = settings.model_copy(update={"image": tmp_path / "dpam.sif"})
    binds, (remark,) = submission.linked(settings, everything)
    assert binds == (lists, models, more, templates)
    assert remark.startswith(f"links lead to {lists}, {models}, {more}, {templates}: bound")

    comma = folder(tmp_path / "a,b")
    with pytest.raises(ConfigError, match="a,b', whose name cannot be used in a job"):
        submission.linked(settings, [str(comma)])
