"""The processes of one machine: which failure is told, and starting them from any thread."""

import subprocess
import threading

from domainclip.errors import TrainingError
from domainclip.training.launch import launch, wait_for_all


def test_of_several_failures_the_first_is_told():
    culprit = subprocess.Popen(["sh", "-c", "sleep 0.1; exit 3"], stdout=subprocess.PIPE)
    victim = subprocess.Popen(["sh", "-c", "cat; sleep 0.05; exit 1"], stdin=culprit.stdout)
    assert culprit.stdout is not None
    culprit.stdout.close()
    assert wait_for_all([victim, culprit]) == (1, 3)
    assert victim.wait() == 1


def test_processes_can_be_started_off_the_main_thread(tmp_path):
    errors = []

    def start():
        try:
            launch(2, ["--no-such-option"], tmp_path)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert [type(error) for error in errors] == [TrainingError]
    assert errors[0].exit_code == 2
