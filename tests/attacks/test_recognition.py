"""Recognition of payloads that are vectors."""

from dapter.attacks import Sealed
from dapter.attacks.recognition import ON_VECTORS, Recognition
from dapter.cells import Subject
from dapter.defences import Task, build_defence
from dapter.loop import CURVE, Plan
from dapter.runs import Run
from planted import make_secret_data


def test_vectors_take_more_epochs(service, tmp_path):
    data = make_secret_data(counts=(48, 32, 24))
    subject = Subject(build_defence("hybrid", {"width": 4}).setup(0, service, Task.of(data)), service, data)
    attack = Recognition("cnn", width=4, plan=Plan(epochs=1, batch_size=16, bfloat16=False))
    attack.run(subject.view(None), Sealed(lambda: subject.observe("test")), 0, run := Run(tmp_path))
    assert sum("val_loss" in point for point in run.read_lines(CURVE)) == ON_VECTORS
