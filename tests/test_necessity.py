from dapter.defences.dapter import Dapter
from dapter.necessity import ARCH, same_size
from dapter.nets.classifiers import build_classifier


def size(net):
    return sum(value.numel() for value in net.parameters())


def test_the_classifier_is_as_large_as_the_client_part_and_no_larger():
    defence = Dapter(width=16).setup()
    width = same_size(defence)
    assert size(build_classifier(ARCH, 2, width)) <= size(defence.client()) < size(build_classifier(ARCH, 2, width + 1))


def test_the_smallest_client_part_is_met_by_the_smallest_classifier():
    assert same_size(Dapter(width=1).setup()) == 1
