"""Codes of the ten digits for LeNet-5's RBF output (LeCun et al. 1998, section II.B).

Each class has a fixed code of 84 values ±1, drawn as a 7×12 bitmap of the character. The
drawings are kcnn's own, in the manner of the paper's figure 3.
"""

import numpy as np

_ROWS, _COLUMNS = 12, 7

# Twelve rows each, a digit beside the other.
_DIGITS = """
.......  .......  .......  .......  .......  .......  .......  .......  .......  .......
..###..  ...##..  .#####.  .#####.  ....##.  #######  ..####.  #######  .#####.  .#####.
.##.##.  ..###..  ##...##  ##...##  ...###.  ##.....  .##....  #....##  ##...##  ##...##
##...##  .####..  .....##  .....##  ..####.  ##.....  ##.....  .....##  ##...##  ##...##
##...##  ...##..  .....##  .....##  .##.##.  ##.....  ##.....  ....##.  ##...##  ##...##
##...##  ...##..  ....##.  ..####.  ##..##.  ######.  ######.  ....##.  .#####.  ##..###
##...##  ...##..  ...##..  .....##  #######  .....##  ##...##  ...##..  ##...##  .######
##...##  ...##..  ..##...  .....##  ....##.  .....##  ##...##  ...##..  ##...##  .....##
.##.##.  ...##..  .##....  ##...##  ....##.  ##...##  ##...##  ..##...  ##...##  ....##.
..###..  .######  #######  .#####.  ....##.  .#####.  .#####.  ..##...  .#####.  .####..
.......  .......  .......  .......  .......  .......  .......  .......  .......  .......
.......  .......  .......  .......  .......  .......  .......  .......  .......  .......
"""


def digit_codes() -> np.ndarray:
    """The codes of the digits 0 to 9: (10, 84) float32, values -1 and +1."""
    rows = [line.split() for line in _DIGITS.strip().splitlines()]
    drawings = np.array([[list(cell) for cell in row] for row in rows])  # (12, 10, 7)
    assert drawings.shape == (_ROWS, 10, _COLUMNS)
    filled = drawings.transpose(1, 0, 2).reshape(10, _ROWS * _COLUMNS) == "#"
    return np.where(filled, 1.0, -1.0).astype("float32")
