"""Work in several processes, begun from a process that has threads of its own."""

FORKS_AFTER_OPENCV = """
import cv2
import numpy as np
from domainclip.data.parallel import run_parallel

cv2.setNumThreads(2)
cv2.GaussianBlur(np.zeros((3000, 3000, 3), np.uint8), (31, 31), 5)  # starts OpenCV's threads
print(sum(len(rows) for rows, _ in run_parallel(lambda rows: list(rows), 400, "counting")))
"""


def test_processes_start_where_opencv_has_threads(run_python):
    done = run_python("-c", FORKS_AFTER_OPENCV, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["400"]
