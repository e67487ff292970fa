"""The rivals' tables on the page of results, made from lines of audits."""

from dataclasses import replace

import pytest

from audit_pages import lines
from benchmark_files import load
from dapter.attacks import name_of
from dapter.attacks.inversion import Inversion
from dapter.attacks.partition import Partition
from dapter.subjects import DRAWS


@pytest.fixture(scope="module")
def reproductions():
    return load("reproductions")


def row(study, name, found, **settings):
    """The lines as a row of a study's table."""
    own = {"study": study, "row": name, "service_changed": True, **settings}
    return [replace(line, settings={**line.settings, **own}) for line in found]


def decoded(suite, score, found):
    """The lines, and those of the suite's attacks on the image; the score is of the attack's place and the measure."""
    image = next(line for line in found if line.secret == "image" and line.measure == "leak")
    more = []
    for place, attack in enumerate(suite):
        settings = {**image.settings, "attack": {**attack.settings(), "seed": 0}}
        own = replace(image, attack=name_of(attack), settings=settings, n=attack.most() or 2000)
        more += [
            replace(own, measure=name, value=score(place, name), low=None) for name in ("ssim", "mse", "psnr", "l1")
        ]
    return [*found, *more]


def tables(part):
    """The tables before the folded one, each a list of rows by column; and all of the text."""
    text = "\n".join(part)
    found, table = [], []
    for line in text.partition("<details>")[0].splitlines():
        if line.startswith("| "):
            table.append([cell.strip() for cell in line.strip("|").split(" | ")])
        elif table and not line.startswith("|-"):
            found.append([dict(zip(table[0], cells, strict=True)) for cells in table[1:]])
            table = []
    return found, text


def test_a_paper_s_figure_stands_beside_ours_of_the_same_secret(reproductions):
    ours = [
        replace(line, reported=0.25) if line.measure == "secret_accuracy" else line for line in lines("disco", None)
    ]
    found = [*row("disco_table1", "DISCO", ours), *row("disco_table1", "none", lines())]
    ((disco, none),), text = tables(reproductions.reproduction_part("rivals_x", found))
    assert disco["class: accuracy, % in the paper"] == "25.0"
    assert none["class: accuracy, % in the paper"] == ""
    assert not any(name.startswith("image") and "in the paper" in name for name in disco)
    assert text.count("<details>") == 1


def test_a_range_over_trainings_is_of_one_attacker(reproductions):
    weak, strong = Partition.suite("cpu")[:2]
    found = []
    for seed in (0, 1):
        own = decoded((weak, strong), lambda place, name: 0.2 + 0.5 * place, lines("partition", None, seed))
        worst = next(line for line in own if line.attack == "partition" and line.settings["attack"]["width"] == 16)
        own = [line for line in own if (line.secret, line.measure) != ("image", "leak")]
        found += row("partition_mnist", "0 defenders", [*own, replace(worst, measure="leak", value=0.9)])
    (((only,), *_), text) = tables(reproductions.reproduction_part("rivals_x", found))
    assert only["image by"] == "partition dense depth 1 width 16"
    assert only["image SSIM"] == "0.700 (0.700 to 0.700)"
    assert only["trainings"] == "2"
    assert text.count("partition dense depth 1 width 4 ") == 4  # in two tables, and for two seeds in the folded one


def test_the_tables_of_privacy_partitioning_have_eight_attackers_and_a_column_a_row(reproductions):
    found, suite = [], Partition.suite("cpu")
    for count in (0, 1, 4):
        own = decoded(suite, lambda place, name, count=count: 0.9 - count / 10 - place / 100, lines("partition", None))
        found += row("partition_mnist", f"{count} defenders", own, defenders=count)
    (main, first, second), text = tables(reproductions.reproduction_part("rivals_x", found))
    assert [each["row"] for each in main] == ["0 defenders", "1 defenders", "4 defenders"]
    assert [each["settings"] for each in main] == ["defenders 0", "defenders 1", "defenders 4"]
    assert {each["image by"] for each in main} == {"reconstruction unet ssim"}
    for table in (first, second):
        assert len({each["attacker"] for each in table}) == 8
        assert {each["n"] for each in table} == {"2,000"}
        assert all(each["attacker"].startswith("partition ") for each in table)
    assert [first[0][f"{count} defenders"].split()[0] for count in (0, 1, 4)] == ["0.900", "0.800", "0.500"]
    assert second[7]["4 defenders"].split()[0] == "0.4300"
    assert text.index("Table I, images") < text.index("Table II, the same") < text.index("0 defenders:\n")


def test_likelihood_maximisation_stands_beside_the_worst_attack(reproductions):
    score = {"ssim": 0.3, "psnr": 12.0, "l1": 0.2, "mse": 0.05}
    own = decoded(Inversion.suite("cpu"), lambda place, name: score[name], lines("disco", None))
    (main, *each), text = tables(reproductions.reproduction_part("rivals_x", row("disco_table2", "DISCO", own)))
    assert main[0]["image by"] == "reconstruction unet ssim"
    assert [len(table) for table in each] == [3, 3, 3, 3]
    assert {line["attacker"].split()[0] for table in each for line in table} == {"inversion"}
    assert {line["n"] for table in each for line in table} == {"32"}
    assert [table[0]["DISCO"].split()[0] for table in each] == ["0.300", "12.0", "0.200", "0.0500"]
    assert "inversion 300 steps" in text


def test_ms_ssim_is_said_to_compare_at_one_size_only(reproductions):
    found = []
    for side, scales in ((32, 2), (64, 3), (176, 5)):
        restored = [line for line in lines("deepobfuscator", None, data_digest=f"{side}") if line.measure == "ssim"]
        more = [replace(line, measure="ms_ssim", reported=0.3175) for line in restored]
        own = [*lines("deepobfuscator", None, data_digest=f"{side}"), *more]
        sized = row("deepobfuscator", "DeepObfuscator", own, image_size=[side, side])
        assert f"MS-SSIM has {scales} of its 5 scales at {side} px" in "\n".join(
            reproductions.reproduction_part("rivals_x", sized)
        )
        found += sized
    text = "\n".join(reproductions.reproduction_part("rivals_x", found))
    assert [text.count(f"### {side} px") for side in (32, 64, 176)] == [1, 1, 1]
    assert "MS-SSIM has" not in "\n".join(
        reproductions.reproduction_part("rivals_x", row("disco_table1", "a", lines()))
    )


def test_a_changed_service_and_epsilon_are_columns(reproductions):
    private = lines("dp_pixelation", None)
    epsilon = next(line for line in private if line.measure == "agreement")
    private.append(replace(epsilon, measure="epsilon", value=3.0, low=None, high=None, grade="guaranteed"))
    found = [
        *row("partition_cifar10", "none", lines("partition", None)),
        *row("partition_cifar10", "private pixelation", private, service_changed=False, epsilon=1.0, draws=DRAWS),
    ]
    ((none, pixels), *_), _ = tables(reproductions.reproduction_part("rivals_x", found))
    assert (none["service changed"], pixels["service changed"]) == ("yes", "no")
    assert (none["epsilon"], pixels["epsilon"], pixels["settings"]) == ("", "3.00", "epsilon 1.0")
    assert pixels["class: flags"] == "still improving"
    assert pixels["class: n"] == "2,000"
